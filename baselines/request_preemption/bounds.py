"""Lower bounds on the mean latency that any scheduler can reach, clairvoyant or not.

Take any schedule that finishes a set of requests. Three things hold of each request j, with prompt
p, output o and arrival r, and of the time C at which its last token comes:

1. *Work.* An iteration of n tokens lasts ``first[n]`` and what attention costs. Share ``first[n]``
   equally among its tokens, and give each request the attention that it causes. Then j has got at
   least ``w = (p + o - 1) min_n first[n]/n + a1 p + a2 p^2 + d2 sum_{g=1}^{o-1} (p + g)`` by C, all
   of it in iterations that began at r or later. For its prompt costs ``a1 p + a2 p^2`` however it
   is cut into chunks, and each further token g + 1 comes either from a decode on p + g tokens, or
   after these were computed again: that costs ``a1 (p + g)`` more, which is no less where a1 >= d2.
   Shares of requests that are served side by side add up to the time that passes, so they are a
   preemptive schedule of jobs (r, w) on one processor. No such schedule has a smaller sum of
   completion times than the shortest remaining processing time first (Schrage 1968).
2. *Room.* Each of the o iterations that bring a token of j lasts at least ``t_min``, the shortest
   iteration, in which j holds ``ceil((p + g)/16)`` blocks, for g = 0, ..., o - 1. Blocks that are
   held at the same time add up to no more than the pool. So ``t_min sum_g ceil((p + g)/16) / kv``
   is work in the same sense. Prefixes shared by requests break this.
3. *Alone.* Those iterations follow each other: C - r is at least ``o t_min`` and what j's own
   attention costs as in 1.

I instances are no faster than one processor I times as fast. Where prefixes are cached or turns
follow each other, prompts may cost nothing, rooms be shared, and arrivals depend on the scheduler:
only ``o t_min`` is left of it.
"""

import heapq
from collections.abc import Iterable

import numpy as np

from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.request_preemption.layout import rules_of
from fleetgym.envs.request_preemption.scenario import BLOCK_TOKENS, RequestPreemptionScenario
from fleetgym.envs.request_preemption.types import (
    PS,
    R_A1,
    R_A2,
    R_D2,
    Float64,
    Int64,
    Rules,
)
from fleetgym.envs.request_preemption.workloads import ServingWorkload

PS_OF_US, NS_OF_US = 10**6, 1_000


def mean_latency_bound(workload: ServingWorkload, scenario: RequestPreemptionScenario) -> float:
    """Seconds below which no schedule that finishes all has its ``e2e_mean_s``.

    Requests that the pool can never hold are rejected and do not count; 0 where none is left.

    Raises:
        PolicyError: the times of the model break the bound's argument (a1 < d2).
    """
    trace, rules = workload.trace, rules_of(scenario)
    if rules.of[R_A1] < rules.of[R_D2]:
        raise PolicyError(
            f"no bound for {scenario.model} on {scenario.gpu}: a prompt token's attention "
            f"({rules.of[R_A1]} ps) costs less than a cached token's ({rules.of[R_D2]} ps)"
        )
    prompt, output = trace.prompt_tokens.astype(np.int64), trace.output_tokens.astype(np.int64)
    served = -(-(prompt + output - 1) // BLOCK_TOKENS) <= scenario.kv_blocks
    prompt, output = prompt[served], output[served]
    if len(prompt) == 0:
        return 0.0
    shortest = float(rules.first[1:].min())
    if trace.num_arrivals < len(trace) or (scenario.prefix_cache and len(trace.hashes) > 0):
        return float((output * shortest).mean()) / PS
    arrival = trace.arrival_ns[served] // NS_OF_US * PS_OF_US * scenario.arrival_scale
    attention = _attention(prompt, output, rules)
    tokens = np.arange(1, len(rules.first))
    work = (prompt + output - 1) * float((rules.first[1:] / tokens).min()) + attention
    room = shortest * _block_iterations(prompt, output) / scenario.kv_blocks
    alone = output * shortest + attention
    shares = [shortest_first(arrival, each / scenario.instances) for each in (work, room)]
    return max(*shares, float(alone.mean())) / PS


def _attention(prompt: Int64, output: Int64, rules: Rules) -> Float64:
    """Picoseconds of attention that a request causes at least, ``(N,)``."""
    context = prompt * (output - 1) + output * (output - 1) // 2
    a1, a2, d2 = (float(rules.of[row]) for row in (R_A1, R_A2, R_D2))
    return a1 * prompt + a2 * prompt.astype(np.float64) ** 2 + d2 * context


def _block_iterations(prompt: Int64, output: Int64) -> Float64:
    """Blocks a request holds, summed over the iterations that bring its tokens, ``(N,)``."""
    sums = [
        int((-(-np.arange(p, p + o) // BLOCK_TOKENS)).sum())
        for p, o in zip(prompt, output, strict=True)
    ]
    return np.array(sums, np.float64)


def shortest_first(arrival: Iterable[float], work: Iterable[float]) -> float:
    """Mean time in system under the shortest remaining time first, on one processor.

    Args:
        arrival: of each job, any order.
        work: of each job, in the same unit.
    """
    jobs = sorted(zip(arrival, work, strict=True))
    left: list[float] = []  # work of the jobs in the system, a heap
    total, now, n = 0.0, 0.0, 0
    while n < len(jobs) or left:
        if not left:
            now = max(now, jobs[n][0])
        while n < len(jobs) and jobs[n][0] <= now:
            heapq.heappush(left, jobs[n][1])
            n += 1
        until = jobs[n][0] if n < len(jobs) else np.inf
        done = min(left[0], until - now)
        total += done * len(left)
        now = now + done if done == left[0] else until
        if done == left[0]:
            heapq.heappop(left)
        else:
            heapq.heapreplace(left, left[0] - done)
    return total / len(jobs)
