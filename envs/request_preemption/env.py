"""The Gymnasium environments of request preemption."""

from fleetgym.envs.core.env import FleetEnv
from fleetgym.envs.core.vector import FleetVectorEnv
from fleetgym.envs.request_preemption import FAMILY


class RequestPreemptionEnv(FleetEnv):
    r"""LLM request preemption: who runs, who waits, and who is preempted when KV memory is short.

    ## Description
    A GPU serves many LLM requests at once from a paged KV cache that is too small for all of them.
    A scheduler says which requests run, which wait, and which are preempted, by dropping their
    blocks (they are recomputed later) or by copying them to the host. With several instances, a
    router says which instance a request goes to, and which running request migrates.

    An instance has `kv_blocks` KV blocks of 16 tokens, `cpu_blocks` in host memory, one FIFO copy
    channel each way, at most `max_num_seqs` running requests, and a budget of `token_budget`
    tokens an iteration. A request has a prompt of p tokens, an output of o tokens that policies
    do not see, k computed and g emitted tokens, a client, a priority, and may be a turn of a
    program that pauses between turns (for a tool call). What can never fit,
    ceil((p + o - 1) / 16) > `kv_blocks`, is rejected when it arrives.

    In an iteration a running request computes c new tokens on k cached ones. It *decodes* where
    one token is lacking after others were emitted, else it is a *prefill*; when k reaches p + g
    the end of the iteration emits a token, and the token o ends the request. Decoding beside
    prefills, in one of three modes:

    | mode | who computes |
    |---|---|
    | mixed | each takes what it lacks of the budget, in order of admission (vLLM v1) |
    | decode-first | decoding requests take their token first (Sarathi's chunked prefills) |
    | prefill-first | whole prompts if there is any prefill, else decodes (vLLM v0) |

    With n tokens scheduled and B requests that decode, an iteration takes

    t = [floor^p + (c0 + c1 n)^p]^(1/p) + [prefills] (a0 + a1 sum c + a2 sum((k + c)^2 - k^2))
    + [B > 0] (d0 + d1 B + d2 sum(k + 1)),

    fitted to measured kernels of `model` on `gpu` with `tp` (`docs/hardware.md`), times
    `stack_overhead`. A copy takes 2 x layers calls of `dispatch_us` for each group of
    `group_blocks` blocks, and bytes / `swap_gb_s`. Copies stall the engine, or are `overlapped`
    with iterations, which are then slower by `overlap_tax`; blocks that leave stay occupied until
    the copy ends, blocks that come are taken when it begins.

    With `prefix_cache`, full blocks of finished and preempted requests stay until they are
    evicted, least recently used first, and requests with the same beginning reuse them. With
    `ttls_s`, the policy says for how long a finished turn's blocks are *pinned* for the program's
    next turn. Pins are dropped where a running request lacks blocks, the latest program first.

    A policy is asked when an instance has requests waiting and something has happened since its
    last iteration began (an arrival, a finish, the end of a copy, changed priorities), after an
    iteration with a prefill or one that a preemption led to, after `decision_iterations`
    iterations, when nothing runs, and whenever blocks for the next iteration are lacking. Between decisions what runs goes on.
    While a policy thinks (`decision_latency`) so it does too, what lacks blocks stands still, and
    the action is applied at the next boundary of the instance asked.

    ## Action Space
    N is `slots`, I `instances`, T the number of `ttls_s`. Positions of the *table* of the instance
    asked count its running requests in order of admission, then its queue, then those aside
    (in copies, paused, migrating).

    - `action="pointer"` (default): one `Discrete`, in blocks; several actions make one decision.

      | block | size | meaning |
      |---|---|---|
      | go on | 3 | ends the decision: mixed, decode-first, prefill-first |
      | request | N | preempts the running request at a position, admits a waiting, resumes a swapped one |
      | swap out | N, if `preemption="chosen"` | preempts by copying to the host; the block before recomputes |
      | pin | T + 1, if `ttls_s` | of the turn that just ended: so many seconds, or copied to the host |
      | dispatch | I, if I > 1 | the instance that an arrival goes to |
      | migrate | I x I, if I > 1 | `source * I + target`: the request of the source's choice moves; action 0 moves none |

      A request changes state at most once a decision. Going on is closed while blocks for it are
      lacking, and where nothing runs although something fits. Admitting needs a seat and blocks
      for the coming iteration's tokens, resuming all blocks held and those of the next token.
    - `action="scores"` (one instance, no pins): `MultiDiscrete([256] * N)`, a priority for each
      position at once. The longest prefix of the ranking that fits runs, the others are
      preempted; ties follow the table. Every score is legal: the mask shows only who may change.
    - Several agents (`fleetgym.parallel_env`): `instance_0`, ... have the blocks up to pin, each
      for its own table, and `router` has `Discrete(1 + I + I * I)`: 0 for none, then dispatch and
      migrate. Who is not asked has a mask that allows only 0. They share the reward.

    The mask is the observation's `action_mask`, `info["action_mask"]` and `env.action_masks()`.
    An action that it forbids changes nothing, costs `illegal_penalty` and is counted
    (`illegal_action="raise"`: is an `IllegalActionError`). One that was legal when the mask was
    written, but no longer is after the decision's latency, is dropped and counted.

    ## Observation Space
    A `Dict` of numbers from 0 to 1; squash(x, h) = x / (x + h). Rows without a request are zero.

    | entry | space | content |
    |---|---|---|
    | `requests` | `Box(0, 1, (N, 26))` | the table of the instance asked. Present, running, waiting, swapped, aside, may change; prompt and computed (squashed at 1024), generated (256), lacking (512); blocks held and still needed for the next token; predicted output left (256) and blocks in the end (without predictions: 0, and what it takes now); age, slack (1/2 is none left), too late, late gaps; started, priority, client's lead in service (4096), tokens computed in all (1024), times preempted (2), cached share of the prompt, turn (4), place in the queue (16) |
    | `instances` | `Box(0, 1, (I, 13))` | free, evictable, pinned and host blocks; running, queued (16); blocks the queue needs, blocks the running ones take in the end; duration of the last iteration (TBT target); copies (4); migrating; mode decode-first, prefill-first |
    | `world` | `Box(0, 1, (6,))` | share of the requests that have arrived, those outside for want of a slot (16), the kind of decision: schedule, pin, dispatch, rebalance |
    | `arrival` | `Box(0, 1, (4,))` | I > 1: the request to be dispatched: present, prompt, prediction, client's lead |
    | `focus` | `Box(0, 1, (I,))` | I > 1: 1 at the instance asked |
    | `action_mask` | `MultiBinary` | 1 where an action is legal; with scores, who may change |

    Columns are named in `fleetgym.envs.request_preemption.observe`. An instance's agent sees its
    own `requests`, `instance` (a row of `instances`) and `world`; the router `instances`, `world`
    and `arrival`. The same facts in tokens, blocks and ps are in `env.unwrapped.simulator.state()`.

    ## Rewards
    What the sums have grown by since the last action; each is weighted by priority (`priority_weights`).

    | term | reward |
    |---|---|
    | `ttft` | `-weight_late` x seconds for which live requests waited for the first token beyond `ttft_slo_s` |
    | `tbt` | `-weight_late` x seconds for which the next token came later than `tbt_slo_s` |
    | `goodput` | `weight_goodput` for each request that finishes within its targets, the same off for each unfinished one at truncation |
    | `fairness` | `-weight_fairness` x growth of the service gap between clients, in 1,000 tokens |
    | `illegal` | `-illegal_penalty` for an action the mask forbids |

    A request meets its targets if its first token came within `ttft_slo_s`, and of its gaps
    between tokens at most one in a hundred exceeded `tbt_slo_s`. Service is VTC's: 1 for a prompt
    token, 2 for an output token; the gap is that between clients with requests waiting.

    ## Starting State
    A workload drawn from the seed; the machine is empty and runs to its first decision. All that
    is random is drawn then; changed priorities are hashes of the workload's seed.
    `reset(options={"workload_seed": s})` plays one workload again,
    `reset(options={"workload": w})` plays a workload object.

    ## Episode End
    Terminated when every request has finished. Truncated after `horizon_s` seconds, or after
    `max_steps` actions; what is unfinished then is charged and counts as missed.

    ## Information
    After `reset`: `workload_seed`, `metrics`, `action_mask`. After `step`: `reward_terms`,
    `action_mask`; at the end also `episode_metrics`. Metrics, at any time by
    `env.unwrapped.metrics()`: `slo_attainment` (of the accepted), `goodput_rps`, `ttft_*_s` and
    `tbt_*_s` (`p50`, `p95`, `p99`, `p999`, to 0.1%), `e2e_mean_s`, `tpot_mean_s`,
    `program_mean_s`, `throughput_tps`, `duration_s`, `accepted`, `finished`, `unfinished`,
    `rejected`, `preemptions`, `recomputed_tokens`, `swapped_mib`, `stall_share`, `busy_share`,
    `batch_mean`, `hit_tokens`, `jain_index`, `service_gap_tokens` (the largest), `late_ttft_s`
    and `late_tbt_s` (weighted as the reward), `migrations`, `migration_downtime_s`,
    `iterations`, `decisions`, `dropped_actions`, `illegal_actions`.

    ## Arguments
    ```python
    gymnasium.make("fleetgym/RequestPreemption-v0", scenario="burst", arrival_scale=1.2, sigma=0.2)
    ```
    - `scenario`: name of a scenario, "small" by default.
    - `workload`: name of a workload, a path to a trace, or an object with `name`, `capacity` and
      `draw(seed)`; the scenario's own by default.
    - `illegal_action`: "noop" (default) or "raise".
    - `decision_latency`: "none" (default) or "fixed:SECONDS", which passes at each decision.
    - `copy`: False returns read-only views that the next step overwrites.
    - `render_mode`: "ansi" (text) or "rgb_array" (picture).
    - Any field of the scenario, to replace its value; an unknown one is an error.

    ## Version History
    - v0: first version.

    ## Trace
    | workload | what is drawn |
    |---|---|
    | `azure-conv-like`, `azure-code-like`, `burstgpt-like` | Gamma arrivals with the measured variation and lognormal lengths, fitted to the public traces; no download |
    | `agents` | programs of several turns with pauses for tool calls and growing, shared prompts; no download |
    | `toy` | four requests that do not fit together |
    | `azure-llm-2023-conv`, `azure-llm-2023-code`, `azure-llm-2024-conv`, `azure-llm-2024-code` | windows of Microsoft's traces of LLM inference |
    | `mooncake-conversation`, `mooncake-toolagent` | windows of Mooncake's traces, with prefix hashes |
    | `burstgpt-1` | windows of BurstGPT |
    | a path | a file of `fleetgym traces convert`, or in the format of one of these |

    The real ones are downloaded by `fleetgym traces fetch azure-llm-2023-conv`. Training and test
    windows (`split`) are disjoint in time; generated workloads of the two never share a seed.
    `arrival_scale` multiplies the times between arrivals. No public trace has clients, priorities
    or predictions: clients are drawn by Zipf's law (`clients`, `client_skew`), priorities
    uniformly (`priority_levels`), predictions as o x exp(`sigma` x normal) (`predictions`).

    ## Baseline scores
    In `docs/results/request-preemption.md`, for every scenario;
    `python -m fleetgym.scripts.results request-preemption` plays them again.

    ## Reference
    Iterations, blocks and preemption: Kwon et al., "Efficient Memory Management for Large Language
    Model Serving with PagedAttention" (vLLM v0), SOSP 2023, and `vllm/v1/core/sched/scheduler.py`
    (v1). Block groups, copies kept on the host and changing priorities: Shen et al., "FastSwitch",
    2024. Router and live migration: Sun et al., "Llumnix", OSDI 2024. Pins: Li et al.,
    "Continuum", 2025. Prefixes: Zheng et al., "BatchLLM", 2024. Bursts: Wang et al., "BurstGPT",
    KDD 2025. Fairness: Sheng et al., "Fairness in Serving Large Language Models" (VTC), OSDI 2024.
    Iteration times: Agrawal et al., "Vidur", MLSys 2024.

    What differs from them: a decision is an edit of the running set, so each of these policies is
    one way to play. vLLM preempts the last admitted, here anyone may be. vLLM v0 keeps 1% of the
    blocks free and Continuum chooses pins by a formula: those are policies (`baselines`), no part
    of the machine. A prefill shares its iteration with decodes without interference beyond the
    sum above. Priorities follow FastSwitch's random and Markov patterns, drawn by a hash. A
    migration begins with the source's decoding request of least priority and fewest tokens.
    Cache entries are the hash blocks of the trace (16 to 512 tokens), evicted whole.
    Tokenisation, sampling and the network cost nothing.
    """  # noqa: E501

    family = FAMILY


class RequestPreemptionVectorEnv(FleetVectorEnv):
    """B serving machines at once; see `RequestPreemptionEnv`."""

    family = FAMILY
