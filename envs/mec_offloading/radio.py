"""What is on the air: a flight a radio at a time, and cells whose band is shared by their users.

Radios 0 ... U - 1 are the uplinks of the devices, U ... 2 U - 1 their downlinks. A cell's rates are
computed anew only when its number of users, its fading or its gains have changed.
"""

import math

from fleetgym.envs.core.jit import folded, inner
from fleetgym.envs.hardware.cpu import SHARES
from fleetgym.envs.hardware.radio import fade, shared_rate
from fleetgym.envs.mec_offloading.events import push
from fleetgym.envs.mec_offloading.types import (
    AIR_END,
    AIR_RADIO,
    ARRIVE,
    AT_CELLS,
    AT_DATA,
    AT_DEVICES,
    AT_RADIO,
    AT_USES,
    BLOCK,
    BLOCK_DUE,
    CLOCK,
    D_APP,
    D_BYTES,
    DATUM,
    DEVICE,
    DIRTY,
    DIRTY_DOWN,
    FA_APPS,
    FA_BAND,
    FA_DEVICES,
    FA_RADIO,
    FA_SNR,
    FD,
    FD_POWER,
    FD_SCALE,
    FD_SENT,
    FD_SHARE,
    HEAR,
    HOME,
    MESSAGE,
    N_DEVICES,
    N_SERVERS,
    NEVER,
    NOBODY,
    ON_AIR,
    R_BEGAN,
    R_CELL,
    R_END,
    R_HEAD,
    R_SINCE,
    R_TAIL,
    RULE_BLOCK,
    RULE_DELAY,
    RULE_MESSAGE,
    RULE_RADIO,
    RULE_SEED,
    SENT_BYTES,
    U_AT,
    U_DATA,
    U_NEXT,
    U_POWER,
    U_TARGET,
    U_TASK,
    USE,
    V_COVER,
    V_SERVING,
    Float64,
    Int64,
)

LEAST_RATE = 1e-9  # bits per ns: a radio that hears nothing still ends


@folded
def bits_of(i: Int64, use: int) -> float:
    """The size of what a use's flight carries."""
    at = i[AT_USES] + use * USE
    if i[at + U_TASK] == MESSAGE:
        return float(i[RULE_MESSAGE])
    return float(8 * i[i[AT_DATA] + i[at + U_DATA] * DATUM + D_BYTES])


@inner
def enqueue(i: Int64, f: Float64, r: int, use: int) -> None:
    """Puts a flight last in a radio's queue."""
    uses, span = i[AT_USES], 2 * i[N_DEVICES]
    head, tail = i[AT_RADIO] + R_HEAD * span + r, i[AT_RADIO] + R_TAIL * span + r
    i[uses + use * USE + U_NEXT] = NOBODY
    if i[head] == NOBODY:
        i[head] = use
    else:
        i[uses + i[tail] * USE + U_NEXT] = use
    i[tail] = use
    start(i, f, r)


@folded
def cell_for(i: Int64, r: int, use: int) -> int:
    """The cell over which a flight would go, or NOBODY.

    Upwards it is that of the target itself where that covers the device; downwards that of the
    node where the flight is. Else it is the serving cell's.
    """
    n, m = i[N_DEVICES], i[N_SERVERS]
    way = 0 if r < n else 1
    at = i[AT_USES] + use * USE
    device = i[AT_DEVICES] + (r - way * n) * DEVICE
    wish = i[at + U_TARGET] if way == 0 else i[at + U_AT]
    if 0 <= wish < m and (i[device + V_COVER] >> wish) & 1:
        return int(wish)
    return int(i[device + V_SERVING])


@inner
def start(i: Int64, f: Float64, r: int) -> None:
    """Puts the first flight of an idle radio on the air, if there is one and a cell for it."""
    n, span, radio = i[N_DEVICES], 2 * i[N_DEVICES], i[AT_RADIO]
    use = i[radio + R_HEAD * span + r]
    while use != NOBODY and i[radio + R_CELL * span + r] == NOBODY:
        cell = cell_for(i, r, use)
        if cell == NOBODY:
            return
        way = 0 if r < n else 1
        at = i[AT_USES] + use * USE
        if way == 1 and i[at + U_AT] != cell:
            # The station where it waits has lost the device: on by wire to the one that has it.
            i[radio + R_HEAD * span + r] = i[at + U_NEXT]
            push(i, i[CLOCK], ARRIVE, use)
            use = i[radio + R_HEAD * span + r]
            continue
        i[radio + R_CELL * span + r] = cell
        i[radio + R_SINCE * span + r] = i[CLOCK]
        i[radio + R_BEGAN * span + r] = i[CLOCK]
        f[i[FA_RADIO] + r] = bits_of(i, use)
        f[i[FA_RADIO] + span + r] = 0.0
        i[i[AT_CELLS] + way * i[N_SERVERS] + cell] += 1
        i[DIRTY + way] |= 1 << cell
        i[ON_AIR] += 1
        block = i[RULE_BLOCK]
        if block > 0 and i[BLOCK_DUE] == 0:
            push(i, (i[CLOCK] // block + 1) * block, BLOCK, 0)
            i[BLOCK_DUE] = 1


@folded
def stop(i: Int64, f: Float64, r: int) -> None:
    """Takes a radio's flight off the air, and charges what an uplink has radiated."""
    n, span, radio = i[N_DEVICES], 2 * i[N_DEVICES], i[AT_RADIO]
    way = 0 if r < n else 1
    cell = i[radio + R_CELL * span + r]
    if way == 0:
        use, at = i[AT_USES] + i[radio + R_HEAD * span + r] * USE, i[FA_DEVICES] + r * FD
        scale = f[at + FD_SCALE]
        if i[use + U_TASK] != MESSAGE:
            scale = f[i[FA_APPS] + 2 * i[i[AT_DATA] + i[use + U_DATA] * DATUM + D_APP] + 1]
        seconds = (i[CLOCK] - i[radio + R_BEGAN * span + r]) * 1e-9
        joules = f[at + FD_POWER] * i[use + U_POWER] / SHARES * seconds
        f[at + FD_SENT] += joules
        f[at + FD_SHARE] += joules * scale
    i[radio + R_CELL * span + r] = NOBODY
    i[radio + R_END * span + r] = NEVER
    i[i[AT_CELLS] + way * i[N_SERVERS] + cell] -= 1
    i[DIRTY + way] |= 1 << cell
    i[ON_AIR] -= 1


@inner
def through(i: Int64, f: Float64, r: int) -> None:
    """The flight on a radio is through: it reaches the station, or the device, a little later."""
    n, span, radio = i[N_DEVICES], 2 * i[N_DEVICES], i[AT_RADIO]
    use, cell = i[radio + R_HEAD * span + r], i[radio + R_CELL * span + r]
    at = i[AT_USES] + use * USE
    stop(i, f, r)
    i[radio + R_HEAD * span + r] = i[at + U_NEXT]
    later = i[CLOCK] + i[RULE_RADIO]
    if i[at + U_TASK] == MESSAGE:
        push(i, later + i[RULE_DELAY], HEAR, r)
    else:
        i[at + U_AT] = cell if r < n else HOME
        if r < n:
            i[SENT_BYTES] += i[i[AT_DATA] + i[at + U_DATA] * DATUM + D_BYTES]
        push(i, later, ARRIVE, use)
    start(i, f, r)


@folded
def rate_of(i: Int64, f: Float64, way: int, device: int, cell: int, use: int) -> float:
    """Bits per ns of a radio on the air, with its cell's users and fading as they are."""
    n, m = i[N_DEVICES], i[N_SERVERS]
    snr = f[i[FA_SNR] + (way * n + device) * m + cell]
    if way == 0:
        snr *= i[i[AT_USES] + use * USE + U_POWER] / SHARES
    block = i[RULE_BLOCK]
    if block > 0:
        snr *= fade(i[RULE_SEED], device, cell, 2 * (i[CLOCK] // block) + way)
    users = i[i[AT_CELLS] + way * m + cell]
    return max(shared_rate(f[i[FA_BAND] + cell], users, snr), LEAST_RATE)


@folded
def refresh(i: Int64, f: Float64) -> None:
    """Computes the rates of the cells that have changed, and which flight is through first."""
    dirty_up, dirty_down, clock = i[DIRTY], i[DIRTY_DOWN], i[CLOCK]
    if dirty_up | dirty_down == 0:
        return
    n, span = i[N_DEVICES], 2 * i[N_DEVICES]
    ends, cells = i[AT_RADIO] + R_END * span, i[AT_RADIO] + R_CELL * span
    since, heads = i[AT_RADIO] + R_SINCE * span, i[AT_RADIO] + R_HEAD * span
    left, rates = i[FA_RADIO], i[FA_RADIO] + span
    first, which = NEVER, 0
    for r in range(span):
        cell = i[cells + r]
        if cell == NOBODY:
            continue
        way = 0 if r < n else 1
        end = i[ends + r]
        if ((dirty_down if way else dirty_up) >> cell) & 1:
            bits = f[left + r] - f[rates + r] * (clock - i[since + r])
            rate = rate_of(i, f, way, r - way * n, cell, i[heads + r])
            end = clock + min(math.ceil(max(bits, 0.0) / rate), NEVER // 4)
            f[left + r] = bits
            f[rates + r] = rate
            i[since + r] = clock
            i[ends + r] = end
        if end < first:
            first, which = end, r
    i[AIR_END], i[AIR_RADIO] = first, which
    i[DIRTY] = i[DIRTY_DOWN] = 0
