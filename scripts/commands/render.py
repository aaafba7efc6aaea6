"""``fleetgym render ID``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetgym.scripts.commands.environments import EnvId
from fleetgym.scripts.commands.evaluate import Budget, PolicyName, Scenario, Settings, Workload

if TYPE_CHECKING:
    from fleetgym.baselines.policy import Policy
    from fleetgym.envs.core.simulator import Simulator


def render(
    id: EnvId,
    policy: PolicyName = "random",
    scenario: Scenario = "small",
    settings: Settings = None,
    workload: Workload = None,
    seed: Annotated[int, typer.Option(min=0, help="Workload seed.")] = 0,
    budget: Budget = None,
    steps: Annotated[int, typer.Option(min=1, help="At most so many.")] = 200,
    fps: Annotated[float, typer.Option(min=0.1, max=50, help="Frames a second.")] = 4.0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.gif", help="An animation; text without.")
    ] = None,
) -> None:
    """Play an episode and show it, as text or as an animated GIF."""
    from fleetgym.envs.core.registration import family_of
    from fleetgym.scripts.console import bar, say
    from fleetgym.scripts.errors import CommandError
    from fleetgym.scripts.options import parse_overrides
    from fleetgym.scripts.policies import make_policy

    if out is not None and out.suffix != ".gif":
        raise CommandError(f"--out {str(out)!r}: it must end in .gif")
    family = family_of(id)
    named = {} if workload is None else {"workload": workload}
    resolved = family.scenario(
        scenario, {"split": "test", **parse_overrides(settings or ()), **named}
    )
    source = family.workloads(resolved)
    simulator = family.simulate(resolved, source, 1)
    simulator.reset([source.draw(seed)])
    player = make_policy(family, policy, budget)
    draw = family.load(f"render:{'ansi' if out is None else 'rgb_array'}")
    if out is None:
        _play(simulator, player, steps, lambda: say(draw(simulator, 0)))
        return
    frames: list[Any] = []
    with bar(steps, f"{player.name}, seed {seed}") as advance:

        def keep() -> None:
            frames.append(draw(simulator, 0))
            advance(f"{player.name}, seed {seed}")

        _play(simulator, player, steps, keep)
    say(f"wrote {_animate(frames, out, fps)}: {len(frames)} frames")


def _play(simulator: "Simulator", player: "Policy", steps: int, show: Callable[[], None]) -> None:
    """Shows the state at first and after each whole decision."""
    import numpy as np

    from fleetgym.envs.core.view import View, as_actions

    view = View(simulator, clairvoyant=player.information == "clairvoyant")
    player.reset(view, np.arange(1))
    show()
    for _ in range(steps):
        result = simulator.step(as_actions(view, player.act(view)))
        over = bool(result.terminated[0] or result.truncated[0])
        if over or simulator.decision_starts()[0]:
            show()
        if over:
            break


def _animate(frames: list[Any], out: Path, fps: float) -> Path:
    """Writes frames ``(H, W, 3)`` uint8 as a GIF that repeats; its last frame stays longer."""
    import io

    from PIL import Image

    from fleetgym.scripts.files import write

    images = [Image.fromarray(frame) for frame in frames]
    durations = [round(1000 / fps)] * (len(images) - 1) + [2000]
    content = io.BytesIO()
    images[0].save(
        content, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0
    )
    return write(out, content.getvalue())
