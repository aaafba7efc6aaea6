"""What the environment shows: a text (``ansi``) and a picture (``rgb_array``) of one world."""

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.mec_offloading.chart import Chart, Lane, chart_of

WIDTH = 110  # characters of a line
MARGIN, TAIL = 8, 8  # of it: the processor's name, and what waits for it
MAP_WIDTH, MAP_HEIGHT = 48, 12


def rgb_array(simulator: Simulator, world: int) -> NDArray[np.uint8]:
    """One world as a picture, ``(H, W, 3)``; its size depends on the capacity only."""
    from fleetgym.envs.mec_offloading.picture import draw  # pillow: only where it is asked for

    return draw(chart_of(simulator, world))


def ansi(simulator: Simulator, world: int) -> str:
    """One world as text: figures, a map, and a line of work for each processor."""
    shown = chart_of(simulator, world)
    air = " ".join(
        f"dev {one.device} {'>' if one.up else '<'} srv {one.server}" for one in shown.air[:6]
    )
    more = " ..." if len(shown.air) > 6 else ""
    return (
        "\n".join(
            [
                shown.title,
                "   ".join(f"{name} {value}" for name, value in shown.facts),
                shown.question,
                f"on the air: {air or 'nothing'}{more}",
                *_map(shown),
                f"{'':<{MARGIN}}0{shown.end / 1e9:>{WIDTH - MARGIN - TAIL - 3}.3f} s",
                *(_lane(lane, shown.end) for lane in shown.lanes),
            ]
        )
        + "\n"
    )


def _lane(lane: Lane, end: int) -> str:
    """Work of a processor: its tasks' devices as letters, a dot where it idles."""
    width = WIDTH - MARGIN - TAIL
    line = ["."] * width
    for bar in lane.bars:
        first = min(width - 1, bar.start * width // end)
        last = max(first + 1, bar.end * width // end)
        letter = chr(ord("A") + bar.device % 26)
        line[first:last] = letter * (min(last, width) - first)
    waits = f" +{lane.waiting}" if lane.waiting else ""
    return f"{lane.name:<{MARGIN}}{''.join(line)}{waits}"


def _map(shown: Chart) -> list[str]:
    """Servers as #, devices as their letters."""
    if not shown.side:
        return []
    grid = [[" "] * MAP_WIDTH for _ in range(MAP_HEIGHT)]
    for points, mark in ((shown.devices, None), (shown.servers, "#")):
        for k, (x, y) in enumerate(points):
            column = min(MAP_WIDTH - 1, int(x / shown.side * MAP_WIDTH))
            row = MAP_HEIGHT - 1 - min(MAP_HEIGHT - 1, int(y / shown.side * MAP_HEIGHT))
            grid[row][column] = mark or chr(ord("A") + k % 26)
    edge = "+" + "-" * MAP_WIDTH + "+"
    return [edge, *("|" + "".join(row) + "|" for row in grid), edge]
