"""What the environment shows: a text (``ansi``) and a picture (``rgb_array``) of one server.

Both show, layer by layer, how the placement as it stands would have served the last window: a bar
for each GPU, its replicas as segments, against the mean over the GPUs.
"""

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.expert_placement.bars import Layer, Server, heading, server_of

BAR = 64  # characters of the fullest GPU's bar
DETAILED = 40  # GPUs and layers of which each GPU has its own line
LEVELS = " ▁▂▃▄▅▆▇█"
ONLY, SEVERAL, NEW = "=", "#", "+"


def rgb_array(simulator: Simulator, world: int) -> NDArray[np.uint8]:
    """One world as a picture, ``(H, W, 3)``; its size depends on the scenario only."""
    from fleetgym.envs.expert_placement.picture import draw  # pillow: only where it is asked for

    return draw(server_of(simulator, world))


def ansi(simulator: Simulator, world: int) -> str:
    """One world as text: a line a GPU where there are few, a line of columns a layer otherwise."""
    server = server_of(simulator, world)
    lines = heading(server)
    if server.scenario.gpus * len(server.layers) <= DETAILED:
        lines.append(
            f"{ONLY} only replica  {SEVERAL} one of several  {NEW} to be copied in  | mean"
        )
        for layer in server.layers:
            lines += ["", _title(server, layer), *_bars(layer)]
    else:
        lines += ["a column a GPU, its height the tokens / those of the fullest GPU", ""]
        lines += [f"{_title(server, layer)}  {_columns(layer)}" for layer in server.layers]
    return "\n".join(lines) + "\n"


def _title(server: Server, layer: Layer) -> str:
    mark = ">" if layer.number == server.chosen else " "
    return (
        f"{mark}layer {layer.number:>3}  balancedness {layer.balancedness:.3f}  "
        f"edits left {layer.edits_left:>3}"
    )


def _bars(layer: Layer) -> list[str]:
    """A line for each GPU: ``[expert==][expert##]``."""
    scale, mean = BAR / layer.fullest, round(BAR * layer.mean / layer.fullest)
    lines = []
    for g, stack in enumerate(layer.stacks):
        text, tokens = "", 0.0
        for segment in stack:
            tokens += segment.tokens
            size = round(tokens * scale) - len(text)
            fill = NEW if segment.moved else SEVERAL if segment.several else ONLY
            name = f"{segment.expert}"
            inside = name + fill * (size - 2 - len(name)) if size >= len(name) + 2 else ""
            text += f"[{inside}]" if inside else fill * size
        bar = f"{text:<{BAR}}"
        bar = bar[:mean] + "|" + bar[mean + 1 :] if bar[mean : mean + 1] == " " else bar
        lines.append(f"  GPU {g:>3} {bar.rstrip():<{BAR}} {tokens:>12,.0f}")
    return lines


def _columns(layer: Layer) -> str:
    """A character for each GPU."""
    top = len(LEVELS) - 1
    tokens = [sum(segment.tokens for segment in stack) for stack in layer.stacks]
    return "".join(LEVELS[round(top * one / layer.fullest)] for one in tokens)
