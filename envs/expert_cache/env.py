"""The Gymnasium environments of expert caching."""

from fleetgym.envs.core.env import FleetEnv
from fleetgym.envs.core.vector import FleetVectorEnv
from fleetgym.envs.expert_cache import FAMILY


class ExpertCacheEnv(FleetEnv):
    r"""Expert caching: which experts of a mixture-of-experts model stay in GPU memory.

    ## Description
    A model of L layers with E experts each decodes a text. At each layer the router activates K
    experts, but GPU memory has room for C of each layer's E (`capacity`). An expert that is not
    there is computed on the CPU, or copied over PCIe first. At each miss: is the expert admitted to
    the cache, and which slot does it take?

    An *event* is a step (a token, or a batch of them) at a layer, with the activated experts in
    router order, the tokens sent to each, and router scores. Hits are judged on the cache at the
    event's start; then the misses are decided one by one in router order. An admitted expert is
    copied into a slot whose tenant is lost at once, even if this event still needs it. An event
    writes a slot at most once. When all misses are decided the event's experts are split:

    - they queue: first those in GPU memory, the soonest there first, then the others; of equals the
      one with more tokens first, then router order;
    - the GPU takes from the head, what is not in its memory by streaming it over PCIe without
      keeping it; the CPU takes from the tail;
    - of the two candidates the one that ends earlier is carried out, until all are computed
      (HybriMoE's greedy). So an admitted expert may still be computed on the CPU in this event.

    The layer ends when both lanes are done; `dense_ms` later the next begins. PCIe copies one expert
    at a time in the order of the decisions, and goes on across layers and steps. Times in ns:

    | `cost` | CPU, n tokens | GPU | a move |
    |---|---|---|---|
    | `hybrimoe` | 1.0 n ms | 0.5 ms | 0.418 ms |
    | `hybrimoe-fast-cpu` | 0.2 n ms | 0.5 ms | 0.418 ms |
    | `hybrimoe-affine-cpu` | 0.79 + 0.8 n ms | 0.5 ms | 0.418 ms |
    | `fiddler` | 7 n ms | 0 | 70 ms |
    | `roofline` | max(bytes / `cpu_gb_s`, operations / `cpu_tflops`) | the same of the GPU | bytes / `pcie_gb_s` |

    With `prefetch` above 0, that many experts may be fetched ahead for the next layer (of the next
    step, after the last layer) once a layer is settled. Such a copy is queued behind those of the
    layer, and may begin when the layer began. A prefetched expert counts as a load.

    While a policy thinks (`decision_latency`) GPU and CPU wait, and PCIe goes on.

    ## Action Space
    `Discrete(1 + C)`; with prefetch `Discrete(1 + C + E)`.

    | stage | 0 | 1 + slot | 1 + C + expert |
    |---|---|---|---|
    | a miss | do not admit | overwrite the slot | closed |
    | prefetch | no more | closed | fetch an expert that the next layer's cache lacks |
    | its slot | closed | overwrite the next layer's slot | closed |

    Slots that this event has written are closed. The mask is the observation's `action_mask`,
    `info["action_mask"]` and `env.action_masks()`. An action that it forbids changes nothing, costs
    `illegal_penalty` and is counted (`illegal_action="raise"`: is an `IllegalActionError`).

    ## Observation Space
    A `Dict`; everything lies in [0, 1]. F = 9 features of an expert: recency 1 / (1 + steps since
    its layer used it); moving average of being used; moving average of (12 + ln score) / 12;
    HybriMoE's MRS; uses / steps; (12 + ln score) / 12 when its layer was routed last; whether this
    event activates it; whether its slot is open; whether its copy is in flight.

    | entry | space | content |
    |---|---|---|
    | `slots` | `Box(0, 1, (C, 9))` | the tenants of the layer that is decided about |
    | `expert` | `Box(0, 1, (9,))` | the missed expert, or the one chosen to be fetched |
    | `next` | `Box(0, 1, (E, 9))` | with prefetch: all experts of the next layer, at that stage |
    | `progress` | `Box(0, 1, (10,))` | stage (3), layer, step, rank in router order, misses left, share of the event's tokens, queue on PCIe, hit rate |
    | `action_mask` | `MultiBinary` | 1 where an action is legal |

    The same facts in steps and ns are in `env.unwrapped.simulator.state()`; names of rows stand in
    `fleetgym.envs.expert_cache.types`.

    ## Rewards
    `reward="makespan"` (default): minus the ms of the layers that end with the step (term
    `makespan`), minus the ms that GPU and CPU waited for the decision (`waiting`). Rewards add up to
    minus the time of the layers from the first decision on. `reward="misses"`: -1 for each miss
    decided (`misses`). A forbidden action gives `-illegal_penalty` (`illegal`).

    ## Starting State
    A workload drawn from the seed: the routing of `warmup` steps and of the steps to be played. The
    cache holds what LRU would after the warm-up, and the statistics know it. All that is random is
    drawn then. `reset(options={"workload_seed": s})` plays one workload again,
    `reset(options={"workload": w})` plays a workload object.

    ## Episode End
    Terminated after the last step's last layer. Truncated after twice as many steps as legal
    actions could take.

    ## Information
    After `reset`: `workload_seed`, `metrics`, `action_mask`. After `step`: `reward_terms`,
    `action_mask`; at the end also `episode_metrics`. Metrics, at any time by
    `env.unwrapped.metrics()`: `hit_rate`, `gap_closed` (at the end: the share of the way from the
    hits of LRU to those of MIN with bypass, which bounds caching without prefetch), `tokens_per_s`,
    `makespan_s`, `waiting_s`, `requests`, `misses`, `loads_per_request`, `admissions`, `streams`,
    `prefetches`, `wasted_prefetches`, `gpu_busy_share`, `cpu_busy_share`, `pcie_busy_share`,
    `illegal_actions`.

    ## Arguments
    ```python
    gymnasium.make("fleetgym/ExpertCache-v0", scenario="dsv2-lite", capacity=0.5, locality="low")
    ```
    - `scenario`: name of a scenario, "small" by default.
    - `workload`: name of a workload, a path to a trace, or an object with `name`, `capacity` and
      `draw(seed)`; the scenario's own by default.
    - `illegal_action`: "noop" (default) or "raise".
    - `decision_latency`: "none" (default) or "fixed:SECONDS", which passes at each decision.
    - `copy`: False returns read-only views that the next step overwrites.
    - `render_mode`: "ansi" (text) or "rgb_array" (picture).
    - Any field of the scenario, to replace its value; an unknown one is an error.

    One layer decides at a time, so there is one agent: `fleetgym.parallel_env` refuses.

    ## Version History
    - v0: first version.

    ## Trace
    | workload | what is drawn |
    |---|---|
    | `generated` | logits of popularity, AR(1) topics and AR(1) noise, fitted so that a token shares 21, 46 or 69% of its experts with the one before (`locality` low, medium, high); no download |
    | `toy` | one layer, four experts, two slots, twelve tokens whose optimum is known by hand |
    | `switch-base-8` | captured top-1 routing of switch-base-8: 215 tokens, 6 layers, 8 experts (Apache-2.0) |
    | a path | a `.json` or `.json.gz` of `[token][layer][k]` |

    Layers and experts are those of the trace. A trace of at least two episodes is played in windows
    that begin at random: in training of its first half, in tests of the second. Training and test
    workloads (`split`) that are generated never share a seed.

    ## Baseline scores
    In `docs/results/expert-cache.md`; `python -m fleetgym.scripts.results expert-cache` plays them
    again.

    ## Reference
    Zhong et al., "HybriMoE: Hybrid CPU-GPU Scheduling and Cache Management for Efficient MoE
    Inference", DAC 2025; Yuan et al., "MoE-Lens", 2025; Kamahori et al., "Fiddler", ICLR 2025.

    What differs from them: the split over GPU and CPU is fixed, and the policy decides what is
    cached, also not to cache. Prefetching sees past routing only: HybriMoE's predictions of the next
    layers' scores are in no public trace, so its MRS stands in for them.
    """  # noqa: E501

    family = FAMILY


class ExpertCacheVectorEnv(FleetVectorEnv):
    """B caches at once; see `ExpertCacheEnv`."""

    family = FAMILY
