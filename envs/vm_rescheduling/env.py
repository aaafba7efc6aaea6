"""The Gymnasium environments of VM rescheduling."""

from fleetgym.envs.core.env import FleetEnv
from fleetgym.envs.core.vector import FleetVectorEnv
from fleetgym.envs.vm_rescheduling import FAMILY


class VMReschedulingEnv(FleetEnv):
    r"""VM rescheduling: a few live migrations that undo CPU fragmentation.

    ## Description
    Virtual machines (VMs) come and go, and what they leave free on the physical machines (PMs) is
    too scattered for large VMs. A scheduler may migrate a few VMs, at most the migration number
    limit `mnl`. Which ones, and where to?

    A PM has two NUMA nodes, each with cores, memory and milli-GPUs. A single-NUMA VM takes its
    share on one node, a double-NUMA VM the same share on both nodes of one PM. Nothing is
    overcommitted. A migration is legal when the VM is placed and movable, the target differs from
    where it is (another node of the same PM is a target for a single-NUMA VM), the target has
    room in all three resources, another PM holds fewer VMs of the VM's anti-affinity group than
    it may, and the limit is not spent.

    The objective to minimise is a weighted sum (`weight_*`, by default the first term alone) of:

    | term | meaning |
    |---|---|
    | `fragment` | FR_X = sum over nodes of (free cores mod X) / sum of free cores; X is `fragment_cores`, 16 |
    | `pair` | free cores that no double-NUMA VM of `pair_cores` can use / sum of free cores |
    | `memory` | sum over nodes of (free MiB mod `memory_chunk`) / sum of free MiB |
    | `gpu` | sum over nodes of (free milli-GPU mod 1000) / sum of free milli-GPU |
    | `active` | PMs that hold a VM / PMs |
    | `traffic` | MiB sent by pre-copy migration / MiB of all VMs at the start |

    Time passes only while a policy thinks (`decision_latency`). With `churn_per_min` above 0, VMs
    then leave and others arrive, placed by best fit, or rejected where they fit nowhere.

    ## Action Space
    P is the number of PMs and V the number of VMs the workload's capacity allows, VMs still to
    arrive included. A target is a slot, `2 * pm + node`.

    - `action="two-phase"` (default): `Discrete(V + 1 + 2P)`, and two actions make one migration.
      In the first phase `0..V-1` chooses a VM that has a legal target and `V` is STOP; in the
      second, `V + 1 + slot` chooses the target of that VM: for a double-NUMA VM the first slot of
      a PM. The mask closes the block that is not asked for.
    - `action="pair"`: `MultiDiscrete([V + 1, 2P])`, a VM (`V` is STOP) and its slot at once; the
      node is ignored for a double-NUMA VM. The mask, `V + 1` entries for the first number and
      `2P` for the second, is necessary and not sufficient:
      `env.unwrapped.simulator.legal_targets(0, vm)` names the slots that are legal for a VM.

    - Several agents (`fleetgym.parallel_env`): each rack decides, all at once. `0..V-1` chooses a VM
      of the rack, or one that another rack offers, `V` passes; then `V + 1 + slot` is a target
      inside the rack and `V + 1 + 2P` offers the VM to the others. They share the limit and the
      reward; the episode also ends when all pass.

    The mask is the observation's `action_mask`, `info["action_mask"]` and `env.action_masks()`.
    An action that it forbids changes nothing, costs `illegal_penalty` and is counted
    (`illegal_action="raise"`: is an `IllegalActionError`). One that was legal when the mask was
    written, but no longer is after the decision's latency, is dropped and counted.

    ## Observation Space
    A `Dict`; everything is normalised, and rows of padding and of absent VMs are zero.

    | entry | space | content |
    |---|---|---|
    | `pms` | `Box(0, 1, (P, 16))` | of each node free and used cores, memory and GPU (of the largest node) and fragment (of X); whether the PM holds a VM; whether the chosen VM's group has filled it |
    | `vms` | `Box(0, 1, (V, 9))` | cores, memory, GPU on each node used; double-NUMA; node; present; movable; (cores mod X) / X; chosen |
    | `vm_host` | `Box(-1, P - 1, (V,), int32)` | the VM's PM, -1 where it is absent |
    | `progress` | `Box(0, 1, (5,))` | moves left, time, second phase, fragment rate, objective |
    | `action_mask` | `MultiBinary(V + 1 + 2P)` | 1 where an action is legal |

    The names of the columns stand in `fleetgym.envs.vm_rescheduling.types`. The same facts in
    cores, MiB and ns are in `env.unwrapped.simulator.state()`.

    ## Rewards
    `reward="objective"` (default): at each migration, minus the change of the objective, term by
    term. Rewards add up to the objective at the start less that at the end. What arrivals and
    departures change while a policy decides is a term of its own, `outside`, of the step that
    follows. `reward="vmr2l"`: the paper's, the fragment cores that a migration removes / 128.
    Choosing a VM and STOP give 0, a forbidden action gives `-illegal_penalty` (term `illegal`).

    ## Starting State
    A workload drawn from the seed: a fleet, and the arrivals and departures to come. All that is
    random is drawn then. `reset(options={"workload_seed": s})` plays one workload again,
    `reset(options={"workload": w})` plays a workload object.

    ## Episode End
    Terminated by STOP, or when `mnl` migrations have been made. Truncated after `4 * mnl + 16`
    steps, or at a step at or after `horizon_s` seconds.

    ## Information
    After `reset`: `workload_seed`, `metrics`, `action_mask`. After `step`: `reward_terms`,
    `action_mask`; at the end also `episode_metrics`. Metrics, at any time by
    `env.unwrapped.metrics()`: `fragment_rate`, `pair_fragment_rate`, `memory_fragment_rate`,
    `gpu_fragment_rate`, `objective`, `active_pms`, `migrations`, `moved_mib`, `traffic_mib`,
    `downtime_s`, `dropped_migrations`, `illegal_actions`, `arrivals`, `departures`,
    `rejected_arrivals`.

    ## Arguments
    ```python
    gymnasium.make("fleetgym/VMRescheduling-v0", scenario="medium", mnl=20, action="pair")
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
    | `matched` | real VM types on 44-core nodes, filled by best fit, churned at 99% CPU, then thinned at random to 82 to 94%; no download |
    | `toy` | three PMs whose optimum is known by hand |
    | `bytedance-medium`, `bytedance-large` | the two data centres of VMR2L, 279 PMs with 2,089 VMs and 1,176 PMs with 4,546 VMs (Apache-2.0) |
    | `bytedance-medium-churned`, `bytedance-large-churned` | these, after random departures and best-fit arrivals until FR_16 lies in `fragment_low..fragment_high` |
    | `alibaba-gpu2023` | GPU nodes of Alibaba's 2023 trace and pods on them; cores are millicores, so set `fragment_cores=16_000` |
    | a path | a `.json` or `.json.gz` in ByteDance's format, or a `.npz` of `fleetgym traces convert` |

    The real ones are downloaded by `fleetgym traces fetch bytedance-medium`. Arrivals and
    departures are Poisson, `churn_per_min` of the VMs a minute each; what arrives is drawn from
    the fleet's own VMs. Training and test workloads (`split`) that are drawn never share a seed.

    ## Baseline scores
    On the leaderboard: `make leaderboard` plays it, and the table in README.md is made from it.

    ## Reference
    Ding et al., "Towards VM Rescheduling Optimization Through Deep Reinforcement Learning"
    (VMR2L), EuroSys 2025; data: https://github.com/bytedance/DRL-based-VM-Rescheduling.

    What differs from it: a VM moved onto its own place is an illegal action, not a free one. The
    exact change of the objective is the default reward, and the objective may have further terms.
    Free resources that the data declares contradict its VMs, so they are computed from the VMs.
    STOP, GPUs, anti-affinity and what pre-copy sends are part of the machine. Churn goes on while
    a policy decides, so a late plan meets a changed fleet.
    """  # noqa: E501

    family = FAMILY


class VMReschedulingVectorEnv(FleetVectorEnv):
    """B fleets at once; see `VMReschedulingEnv`."""

    family = FAMILY
