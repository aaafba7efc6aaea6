"""What the environment shows: a text (``ansi``) and a picture (``rgb_array``) of one world.

Both draw a bar an instance, its pool of KV blocks by who holds them: running requests in order of
admission, those in copies, pins, cache entries in use, cache entries nobody uses, free blocks.
"""

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.request_preemption.pool import Board, Pool, board_of, heading, waits

WIDTH = 120  # characters of a line
BAR = 100  # characters of a pool
FILLS = {
    "decode": "=",
    "prefill": "#",
    "leaving": "<",
    "coming": ">",
    "moving": "~",
    "pinned": "^",
    "shared": "%",
    "cached": ":",
    "free": ".",
}


def rgb_array(simulator: Simulator, world: int) -> NDArray[np.uint8]:
    """One world as a picture, ``(H, W, 3)``; its size depends on the scenario only."""
    from fleetgym.envs.request_preemption.picture import draw  # pillow: only where it is asked for

    return draw(board_of(simulator, world))


def ansi(simulator: Simulator, world: int) -> str:
    """One world as text: for each instance its pool, its mode and its queue."""
    board = board_of(simulator, world)
    lines = [*_header(board), ""]
    for i, pool in enumerate(board.pools):
        lines += _instance(board, i, pool)
    return "\n".join(lines) + "\n"


def _header(board: Board) -> list[str]:
    m = board.metrics
    return [
        heading(board),
        f"time {board.seconds:.3f} s   asked: {board.asked}",
        f"arrived {board.arrived} of {board.firsts}   outside {board.outside}   "
        f"finished {m['finished']:.0f}   preemptions {m['preemptions']:.0f}   "
        f"TTFT p99 {m['ttft_p99_s']:.2f} s   TBT p99 {m['tbt_p99_s']:.3f} s",
        " ".join(f"{fill} {kind}" for kind, fill in FILLS.items())
        + "   queue: s swapped, p preempted, ! late",
    ]


def _instance(board: Board, i: int, pool: Pool) -> list[str]:
    """Two lines: the pool, then what runs and what waits."""
    label = f"{'*' if pool.asked else ' '}{i:>2} "
    said = (
        f"{'':4}{pool.mode}, {pool.running} of {board.scenario.max_num_seqs} running, "
        f"{pool.free:,} blocks free, queue of {len(pool.queue)}:"
    )
    for queued in pool.queue:
        word = f" {waits(queued)}"
        if len(said) + len(word) > WIDTH - 4:
            said += " ..."
            break
        said += word
    return [f"{label}[{_bar(pool, board.scenario.kv_blocks)}]", said]


def _bar(pool: Pool, blocks: int) -> str:
    """The pool as a line; a request's number stands in its part where there is room."""
    line, at = "", 0
    for segment in pool.segments:
        at += segment.blocks
        length = round(at * BAR / blocks) - len(line)
        name = str(segment.row) if segment.row >= 0 else ""
        fill = FILLS[segment.kind]
        line += (f"{fill}{name}" if length > len(name) + 1 else "").ljust(length, fill)[:length]
    return line
