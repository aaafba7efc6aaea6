"""What the environment shows: a text (``ansi``) and a picture (``rgb_array``) of one fleet.

Both draw the same stacks, from the bottom (left) of each NUMA node: VMs sized by their cores, then
usable slots of X free cores, then the fragment, the free cores that make up no whole slot.
"""

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.vm_rescheduling.stacks import Fleet, clock, fleet_of, place_name

WIDTH = 120  # characters of a line
DETAILED = 40  # machines up to which each has its own line, a character a core
NODE = 48  # most characters of a node, detailed
SINGLE, DOUBLE, SLOT, FRAGMENT = "=", "#", ".", "x"


def rgb_array(simulator: Simulator, world: int) -> NDArray[np.uint8]:
    """One world as a picture, ``(H, W, 3)``; its size depends on the capacity only."""
    from fleetgym.envs.vm_rescheduling.picture import draw  # pillow: only where it is asked for

    return draw(fleet_of(simulator, world))


def ansi(simulator: Simulator, world: int) -> str:
    """One world as text: a line a machine where there are few, several a line otherwise.

    Each line begins with the number of its first machine.
    """
    fleet = fleet_of(simulator, world)
    size = max(1, *fleet.cores)
    pms = [pm for pm in range(len(fleet.cores) // 2) if any(fleet.cores[2 * pm : 2 * pm + 2])]
    detailed = len(pms) <= DETAILED
    node = min(size, NODE) if detailed else min(size, 11 if len(pms) <= 400 else 4)
    bars = _bars(fleet, node / size)
    digits = len(str(max(pms, default=0)))
    columns = 1 if detailed else max(1, (WIDTH - digits) // (2 * node + 3))
    cells = [f"{_mark(fleet, pm)}{bars[2 * pm]:<{node}}|{bars[2 * pm + 1]:<{node}}" for pm in pms]
    rows = [
        f"{pms[i]:>{digits}} {' '.join(cells[i : i + columns])}".rstrip()
        for i in range(0, len(cells), columns)
    ]
    return "\n".join([*_header(fleet, size / node), "", *rows]) + "\n"


def _bars(fleet: Fleet, per_core: float) -> list[str]:
    """Each slot as a line of characters, ``per_core`` of them a core."""
    x = fleet.scenario.fragment_cores
    bars = [[" "] * round(cores * per_core) for cores in fleet.cores]
    for slot, (cores, free) in enumerate(zip(fleet.cores, fleet.free, strict=True)):
        used, end = round((cores - free) * per_core), round((cores - free % x) * per_core)
        bars[slot][used:end] = SLOT * (end - used)
        bars[slot][end:] = FRAGMENT * (len(bars[slot]) - end)
    for block in fleet.blocks:
        start, end = (round(c * per_core) for c in (block.bottom, block.bottom + block.cores))
        fill = DOUBLE if block.double else SINGLE
        text = fill * (end - start)
        if per_core == 1 and block.cores > 1:
            text = "[" + f"{block.cores}"[: block.cores - 2].ljust(block.cores - 2, fill) + "]"
        for slot in range(block.slot, block.slot + 1 + block.double):
            bars[slot][start:end] = text
    return ["".join(bar) for bar in bars]


def _mark(fleet: Fleet, pm: int) -> str:
    """Whether the last migration left the machine, or came to it."""
    move = fleet.migration
    if move is None or pm not in (move.source // 2, move.target // 2):
        return " "
    return ">" if pm == move.target // 2 else "<"


def _header(fleet: Fleet, cores_per_character: float) -> list[str]:
    scenario, move = fleet.scenario, fleet.migration
    moved = "none"
    if move is not None:
        moved = f"VM {move.vm} ({move.cores}{' + ' + str(move.cores) if move.double else ''} cores)"
        source, target = (place_name(slot, move.double) for slot in (move.source, move.target))
        moved += f" from {source} (<) to {target} (>)"
    x = scenario.fragment_cores
    return [
        f"{scenario.name} ({scenario.workload}): {fleet.num_pms} machines, {len(fleet.blocks)} VMs",
        f"fragment rate {fleet.fragment_rate:.4f} "
        f"({fleet.fragment} of {sum(fleet.free)} free cores)   "
        f"moves left {fleet.moves_left} of {scenario.mnl}   time {clock(fleet.seconds)}",
        f"last migration: {moved}",
        f"{SINGLE} VM  {DOUBLE} double-NUMA VM  {SLOT} usable slot of {x}  {FRAGMENT} fragment; "
        f"machines as node 0|node 1, a character is {cores_per_character:.3g} core(s)",
    ]
