"""What the environment shows: a text (``ansi``) and a picture (``rgb_array``) of one world.

Both draw the same timeline: what GPU, CPU and PCIe did of late, and the layer decided about.
"""

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.expert_cache.timeline import (
    FORGOTTEN,
    KINDS,
    LANE_NAMES,
    Timeline,
    timeline_of,
)
from fleetgym.envs.expert_cache.types import FETCHED, HIT, LOADED, MISSING, STREAMED

WIDTH = 120  # characters of a line
MARGIN = 6  # of it: the lane's name
FILLS = {HIT: "=", MISSING: "#", LOADED: ">", STREAMED: "~", FETCHED: "+"}


def rgb_array(simulator: Simulator, world: int) -> NDArray[np.uint8]:
    """One world as a picture, ``(H, W, 3)``; its size depends on the capacity only."""
    from fleetgym.envs.expert_cache.picture import draw  # pillow: only where it is asked for

    return draw(timeline_of(simulator, world))


def ansi(simulator: Simulator, world: int) -> str:
    """One world as text: figures, the layer that is decided about, and a line a lane."""
    shown = timeline_of(simulator, world)
    facts = "   ".join(f"{name} {value}" for name, value in shown.facts)
    legend = "  ".join(f"{FILLS[kind]} {name}" for kind, name in KINDS.items())
    requests = " ".join(
        f"{expert}{'' if hit else '!'}{'<' if rank == shown.rank else ''}"
        for rank, (expert, hit) in enumerate(shown.requests)
    )
    slots = " ".join(
        f"{slot.expert}{'*' * slot.requested}{'~' * slot.in_flight}{'x' * (not slot.open)}"
        for slot in shown.slots
    )
    return (
        "\n".join(
            [
                shown.title,
                facts,
                shown.question,
                *_wrapped("asked", requests, "! missed  < to be decided"),
                *_wrapped("slots", slots, "* asked for  ~ in flight  x written by this event"),
                "",
                _scale(shown),
                *(f"{name:<{MARGIN}}{bar}" for name, bar in _bars(shown)),
                f"{'':<{MARGIN}}{legend}",
            ]
        )
        + "\n"
    )


def _wrapped(name: str, words: str, legend: str) -> list[str]:
    """A list of words over as many lines as it needs, then what its marks mean."""
    lines, room = [""], WIDTH - MARGIN
    for word in words.split():
        if len(lines[-1]) + len(word) >= room:
            lines.append("")
        lines[-1] += f"{word} "
    head = [f"{name if i == 0 else '':<{MARGIN}}{line}".rstrip() for i, line in enumerate(lines)]
    return [*head, f"{'':<{MARGIN}}({legend})"]


def _scale(shown: Timeline) -> str:
    first, last = (f"{ns / 1e6:.2f} ms" for ns in (shown.begin, shown.end))
    queued = f" (+{shown.queued / 1e6:.2f} ms of copies)" if shown.queued else ""
    gap = WIDTH - MARGIN - len(first) - len(last) - len(queued)
    return f"{'':<{MARGIN}}{first}{'':<{max(1, gap)}}{last}{queued}"


def _bars(shown: Timeline) -> list[tuple[str, str]]:
    """Each lane as a line of characters; a task begins with its expert where there is room."""
    width = WIDTH - MARGIN
    per_ns = width / (shown.end - shown.begin)
    bars = {lane: ["."] * width for lane in LANE_NAMES}
    for task in shown.tasks:
        start = max(0, int((task.start - shown.begin) * per_ns))
        end = min(width, max(start + 1, int((task.end - shown.begin) * per_ns)))
        name = str(task.expert)
        text = FILLS[task.kind] * (end - start)
        if task.expert != FORGOTTEN and end - start >= len(name) + 2:
            text = f"{name}{text[len(name) :]}"[: end - start - 1] + "|"
        bars[task.lane][start:end] = text
    return [(LANE_NAMES[lane], "".join(bar)) for lane, bar in bars.items()]
