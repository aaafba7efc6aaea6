"""A step of B worlds: the decisions of one instant, then on to the next ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fleetgym.envs.core.jit import folded, inner, kernel
from fleetgym.envs.core.status import DONE, ILLEGAL
from fleetgym.envs.hardware.cpu import SHARES
from fleetgym.envs.mec_offloading.events import KIND
from fleetgym.envs.mec_offloading.machine import elapse as elapse_world
from fleetgym.envs.mec_offloading.machine import give_up, locate, look, run
from fleetgym.envs.mec_offloading.observe import unmark, write_view
from fleetgym.envs.mec_offloading.radio import enqueue
from fleetgym.envs.mec_offloading.tasks import place
from fleetgym.envs.mec_offloading.types import (
    APPEAR,
    APPS_LEFT,
    AT_ASKED,
    AT_DEVICES,
    AT_EVENTS,
    AT_LEVELS,
    AT_TASKS,
    AT_USES,
    CLOCK,
    DEVICE,
    ENDED,
    ENERGY,
    EVENTS_END,
    EVENTS_FIRST,
    FA_DEVICES,
    FA_PAID,
    FAIL,
    FD,
    FD_RATE,
    FD_SHARE,
    FD_START,
    FD_TIME,
    HOME,
    ILLEGALS,
    MESSAGES,
    MISS,
    MOVE,
    N_AGENTS,
    N_DEVICES,
    N_LEVELS,
    N_MESSAGES,
    N_SYMBOLS,
    NOBODY,
    READY,
    RULE_CONTINUOUS,
    RULE_DISTRIBUTED,
    RULE_SEED,
    RULE_STEPS,
    SCORES,
    STEPS,
    T_STATE,
    TASK,
    TERMINATED,
    TERMS,
    TIME,
    TRUNCATED,
    U_AT,
    U_BUSY,
    U_DATA,
    U_POWER,
    USE,
    V_MISSES,
    Bool,
    Float64,
    Int8,
    Int64,
    Shown,
)

FORGOTTEN = 0x5DEECE66  # what the fading's seed is mixed with

PolicyKernel = Callable[[Any, int, Any, Int64], None]


class Prices(NamedTuple):
    """What the reward needs of a scenario."""

    time: float
    energy: float
    miss: float
    illegal: float
    own: float  # weight of a device's own reward beside the team's mean


@folded
def decide(i: Int64, f: Float64, task: int, action: int) -> int:
    """Places a task; ``action`` is a place: frequencies of the device, servers, cloud."""
    levels = i[N_LEVELS]
    if action < levels:
        return int(place(i, f, task, HOME, i[i[AT_LEVELS] + action], SHARES))
    return int(place(i, f, task, action - levels, SHARES, SHARES))


@inner
def decide_by_scores(i: Int64, f: Float64, task: int, action: Int64, mask: Int8) -> int:
    """Places a task where the highest score of a legal place says.

    Args:
        i: the world.
        f: its floats.
        task: that is asked about.
        action: ``(P + 2,)`` a score for each place, frequency of the device, power.
        mask: ``(P,)``.
    """
    places, best = len(mask), NOBODY
    for k in range(places):
        if mask[k] and (best == NOBODY or action[k] > action[best]):
            best = k
    frequency, power = action[places] + 1, action[places + 1] + 1
    if best == 0:
        return int(place(i, f, task, HOME, frequency, power))
    return int(place(i, f, task, best - 1, SHARES, power))


@inner
def speak(i: Int64, f: Float64, u: int, symbol: int) -> None:
    """Sends a message, unless the device's last one is still under way; 0 is silence."""
    at = i[AT_USES] + (i[N_MESSAGES] + u) * USE
    if symbol <= 0 or symbol >= i[N_SYMBOLS] or i[at + U_BUSY]:
        return
    i[at + U_BUSY] = 1
    i[at + U_AT] = HOME
    i[at + U_DATA] = symbol
    i[at + U_POWER] = SHARES
    i[MESSAGES] += 1
    enqueue(i, f, u, i[N_MESSAGES] + u)


@folded
def scores_fit(action: Int64) -> bool:
    """Whether every part of a continuous action is in range."""
    fits = True
    for k in range(len(action)):
        fits = fits and 0 <= action[k] < SCORES
    return fits


@folded
def decide_agent(i: Int64, f: Float64, agent: int, action: Int64, mask: Int8, task: int) -> int:
    """Carries out what one agent has chosen; returns its status."""
    distributed, symbols = i[RULE_DISTRIBUTED], i[N_SYMBOLS]
    if i[RULE_CONTINUOUS]:
        if not scores_fit(action):
            return ILLEGAL
        if task == NOBODY:
            return DONE
        return int(decide_by_scores(i, f, task, action, mask))
    first = 1 if distributed else 0
    chosen = action[0]
    if not 0 <= chosen < len(mask) - symbols or mask[chosen] == 0:
        return ILLEGAL
    if symbols > 0:
        if not 0 <= action[1] < symbols:
            return ILLEGAL
        speak(i, f, agent, action[1])
    if task == NOBODY:
        return DONE
    return int(decide(i, f, task, chosen - first))


@folded
def pay(i: Int64, f: Float64, reward: Float64, status: Int8, prices: Prices) -> None:
    """Writes the reward ``(agents, terms + 1)``: what devices have cost since the last decision."""
    devices, agents = i[N_DEVICES], i[N_AGENTS]
    several, clock = agents > 1, i[CLOCK]
    share = (1.0 - prices.own) / devices if several else 1.0
    time, energy, miss = 0.0, 0.0, 0.0
    for u in range(devices):
        floats, paid = i[FA_DEVICES] + u * FD, i[FA_PAID] + 3 * u
        spent = f[floats + FD_RATE] * clock - f[floats + FD_START] + f[floats + FD_TIME]
        joules = f[floats + FD_SHARE]
        missed = float(i[i[AT_DEVICES] + u * DEVICE + V_MISSES])
        owed_time = prices.time * (f[paid + TIME] - spent)
        owed_energy = prices.energy * (f[paid + ENERGY] - joules)
        owed_miss = prices.miss * (f[paid + MISS] - missed)
        f[paid + TIME], f[paid + ENERGY], f[paid + MISS] = spent, joules, missed
        time += owed_time
        energy += owed_energy
        miss += owed_miss
        if several:
            reward[u, 0] = prices.own * owed_time
            reward[u, 1] = prices.own * owed_energy
            reward[u, 2] = prices.own * owed_miss
    for agent in range(agents):
        row = reward[agent]
        if not several:
            row[0] = row[1] = row[2] = 0.0
        row[0] += share * time
        row[1] += share * energy
        row[2] += share * miss
        row[3] = -prices.illegal if status[agent] == ILLEGAL else 0.0
        row[len(TERMS)] = row[0] + row[1] + row[2] + row[3]


@folded
def step_world(
    i: Int64, f: Float64, h: Int64, g: Float64, shown: Shown, b: int, actions: Int64, prices: Prices
) -> None:
    """Steps one world; its observation and mask are not written."""
    status = shown.status[b]
    unmark(i, shown, b)
    i[STEPS] += 1
    for agent in range(i[N_AGENTS]):
        task = i[i[AT_ASKED] + agent]
        if task != NOBODY and i[i[AT_TASKS] + task * TASK + T_STATE] != READY:
            task = NOBODY
        status[agent] = decide_agent(i, f, agent, actions[agent], shown.mask[b, agent], task)
        i[ILLEGALS] += status[agent] == ILLEGAL
    run(i, f, h, g)
    if i[ENDED] == 0 and i[STEPS] >= i[RULE_STEPS]:
        i[ENDED] = TRUNCATED
        give_up(i)
    pay(i, f, shown.reward[b], status, prices)
    shown.flags[b, 0] = i[ENDED] == TERMINATED
    shown.flags[b, 1] = i[ENDED] == TRUNCATED


@kernel
def step(
    ints: Int64,
    floats: Float64,
    hidden: Int64,
    hidden_floats: Float64,
    shown: Shown,
    actions: Int64,
    active: Bool,
    prices: Prices,
) -> None:
    """Steps the active worlds. ``actions``: ``(B, agents, parts)``."""
    for b in range(len(active)):
        if active[b]:
            i, f = ints[b], floats[b]
            step_world(i, f, hidden[b], hidden_floats[b], shown, b, actions[b], prices)
            write_view(i, f, shown, b)


@kernel
def rollout(
    ints: Int64,
    floats: Float64,
    hidden: Int64,
    hidden_floats: Float64,
    shown: Shown,
    policy: PolicyKernel,
    seen: Any,
    parameters: Any,
    actions: Int64,
    counts: Int64,
    prices: Prices,
) -> None:
    """Plays every world with a Numba policy, to its end or for so many steps.

    Args:
        ints: the worlds.
        floats: likewise.
        hidden: likewise.
        hidden_floats: likewise.
        shown: what they show.
        policy: ``policy(seen, b, parameters, action)`` writes the action ``(agents, parts)``.
        seen: what the policy sees.
        parameters: of the policy.
        actions: ``(B, most steps, agents, parts)``, written.
        counts: ``(B,)`` steps made, written.
        prices: of the scenario.
    """
    for b in range(len(counts)):
        i, f = ints[b], floats[b]
        counts[b] = 0
        while counts[b] < actions.shape[1] and i[ENDED] == 0:
            action = actions[b, counts[b]]
            policy(seen, b, parameters, action)
            step_world(i, f, hidden[b], hidden_floats[b], shown, b, action, prices)
            write_view(i, f, shown, b)
            counts[b] += 1


@kernel
def elapse(
    ints: Int64, floats: Float64, hidden: Int64, hidden_floats: Float64, duration: Int64
) -> None:
    """Lets every world go on for so long, ``(B,)`` ns."""
    for b in range(len(duration)):
        if duration[b] > 0:
            elapse_world(ints[b], floats[b], hidden[b], hidden_floats[b], duration[b])


@kernel
def begin(
    ints: Int64, floats: Float64, hidden: Int64, hidden_floats: Float64, shown: Shown
) -> None:
    """Runs freshly loaded worlds to their first decision."""
    for b in range(len(ints)):
        i, f = ints[b], floats[b]
        locate(i, f, hidden[b], hidden_floats[b])
        look(i, 0)
        look(i, 1)
        run(i, f, hidden[b], hidden_floats[b])
        write_view(i, f, shown, b)


@kernel
def show(ints: Int64, floats: Float64, shown: Shown) -> None:
    """Writes the observations and masks of all worlds anew."""
    for b in range(len(ints)):
        write_view(ints[b], floats[b], shown, b)


@kernel
def forget(ints: Int64) -> None:
    """Takes what is still to come out of the lists of events.

    Applications that have not arrived never will, no server fails or is repaired, devices stay
    where they are, and the fading of blocks to come is another.
    """
    for b in range(len(ints)):
        i = ints[b]
        kept = i[EVENTS_FIRST]
        for k in range(i[EVENTS_FIRST], i[EVENTS_END]):
            time, code = i[i[AT_EVENTS] + 2 * k], i[i[AT_EVENTS] + 2 * k + 1]
            kind = code // KIND
            if kind == APPEAR:
                i[APPS_LEFT] -= 1
            if kind not in (APPEAR, FAIL, MOVE):
                i[i[AT_EVENTS] + 2 * kept], i[i[AT_EVENTS] + 2 * kept + 1] = time, code
                kept += 1
        i[EVENTS_END] = kept
        i[RULE_SEED] ^= FORGOTTEN
