"""The offloading environment: its docstring, and its faces."""

from fleetgym.envs.core.env import FleetEnv
from fleetgym.envs.core.vector import FleetVectorEnv
from fleetgym.envs.mec_offloading import FAMILY


class MECOffloadingEnv(FleetEnv):
    r"""Where do dependent tasks run: on the device, on an edge server, or in the cloud?

    ## Description
    U devices run applications whose tasks depend on one another. Each task is placed on its own
    device, on one of M edge servers or in the cloud, with as little time and energy as may be.

    **Devices and servers.** A device has one core, a server `server_cores`, the cloud as many as it
    takes. C cycles take C / f; on a device at frequency f they take kappa f^2 C joules. A server's
    cores serve tasks in the order in which their inputs are complete (`discipline="fifo"`), or all
    its tasks share them (`"ps"`). A task holds its memory from its placement until it has finished.

    **Radio.** A device can talk to every server whose radius it is in. Path loss is
    128.1 + 37.6 log10(r / km) dB; with `fading` the channel of a device and a server is exponential
    with mean 1, drawn anew each `block_ms` from a hash of (seed, device, server, block). The K
    users of a cell share its band: R = (W / K) log2(1 + K p h / (N0 W)), computed anew whenever K,
    the block or the position changes; uplinks and downlinks are apart. A device sends one piece of
    data at a time and receives one at a time, first come, first served; p_tx times the time on the
    air is its energy. What goes to a server that does not cover the device, or to the cloud, goes
    through the nearest station that does, and on by wire.

    **Wires.** Servers and cloud are linked; a link carries one piece of data at a time at its rate,
    first come, first served, and data arrives a latency later. Data is stored whole at each node.

    **Data** is sent only to where it is not and is not already on its way to: from the wired node
    that has it and is nearest, else from the device. Results go home by themselves. Data without
    bytes is a mere dependence.

    **Decisions.** A task is decided about once its parents have finished (and its device knows);
    then its inputs are sent for. With `planned` all tasks of an application are decided about when
    it arrives, data is sent as soon as it is made, and each processor keeps to the order of the
    decisions: without contention a task is ready at max(FT_j + c_ji), and ends at max(that, the end
    of the one before) plus its time. Of ready tasks the one comes first that `priority` says:
    `heft` (upward rank), `peft` (mean optimistic cost), `ahp` (a weighted sum of criteria), `edf`
    (its latest end that still meets the deadline), `topological`.

    **Partial view.** With `view_delay_ms` above 0 servers report so often, and a report is under
    way so long; that a task has finished elsewhere is known so much later, and so is a refusal: a
    server that was full, or had failed, when the task was placed gives it back (counted as a stale
    action).

    **Mobility.** With `speed_m_s` devices walk. When a device leaves a cell, what is on the air
    begins again at the nearest station that covers it. Out of every cell flights wait, and new
    tasks may only be placed on the device.

    **Failures.** With `failures` servers fail for `failure_s`. Their tasks go back to their devices
    and begin anew; what they have stored stays readable.

    Events of one instant happen in this order: failures, moves, fading, uplinks, downlinks,
    arrivals at nodes, ends of tasks, notices, applications, refusals, messages; then by index.

    While a policy thinks (`decision_latency`), everything goes on.

    ## Action Space
    `Discrete(P)`: the place of the task that is asked about. P = L + M + 1: the device at each of
    its L `dvfs` frequencies (one by default), the servers, the cloud. A place is closed where the
    task's memory is not free, as far as is known, and but for the device where no cell covers it. A
    task without any open place is not asked about until it has one.

    `action="continuous"`: `MultiDiscrete([256] * (P + 2))`: a score for each place (the highest
    that is open is taken, of equals the first), (1 + x) / 256 of the device's frequency, and of the
    transmitter's power. This is the quantised form of the box that DDPG acts in.

    The mask is the observation's `action_mask`, `info["action_mask"]` and `env.action_masks()`. An
    action that it forbids changes nothing, costs `illegal_penalty` and is counted
    (`illegal_action="raise"`: is an `IllegalActionError`).

    `fleetgym.parallel_env` gives each device an agent, `device_0` and so on. Those with a ready task
    decide at once: 0 is the no-op, open only without a task; 1 + place else. With `symbols` W > 0
    actions are `MultiDiscrete([1 + P, W])`, and their masks stand one behind the other: symbol w >
    0 is sent as a message of `message_bytes` over the device's uplink and heard by all
    `view_delay_ms` after that (one at a time: another one meanwhile is not sent).

    ## Observation Space
    A `Dict`; everything lies in [0, 1]. x of the device's mean task of the application shows as
    x / (1 + x). N is the most tasks of a device.

    | entry | space | content |
    |---|---|---|
    | `tasks` | `Box(0, 1, (U, N, 10))`, of an agent `(N, 10)` | cycles, memory, bytes of input, children; whether it waits for parents, is ready, is placed, is known to have finished; its node; whether it is asked about. Zero until its application arrives |
    | `places` | `Box(0, 1, (P, 9))` | for the task that is asked about: whether the place is open; its time there; the time until its inputs are there, if it were alone; work per core there; the three together; free memory; users of the cell; the device's energy; whether it is the device |
    | `progress` | `Box(0, 1, (5,))` | time since the application arrived against its deadline; ready tasks of the device; whether it sends; receives; is covered |
    | `focus` | `Box(0, 1, (U,))` | 1 at the device whose task is asked about (central control) |
    | `heard` | `Box(0, 1, (U, W))` | one-hot, the last message of each device that was heard (with `symbols`) |
    | `action_mask` | `MultiBinary` | 1 where an action is legal |

    The same facts in bytes and ns, and everything else that is present, are in
    `env.unwrapped.simulator.state()`, for critics and policies that see all at once; names of
    columns stand in `fleetgym.envs.mec_offloading.types`.

    ## Rewards
    Since the last decision, of each device: minus `weight_time` times the time of its unfinished
    applications over T_ref (term `time`); minus `weight_energy` times its energy over E_ref
    (`energy`; of sending when it is through); minus `weight_miss` for each application that
    finished late, or not at all (`miss`). T_ref and E_ref are what the application takes all on the
    device. Rewards add up to minus the sum of the makespans over T_ref, and so on. Under central
    control it is the sum over devices; an agent gets the mean (`reward="team"`), its own device's
    (`"own"`), or half of each (`"mixed"`). A forbidden action gives `-illegal_penalty` (`illegal`).

    ## Starting State
    A workload drawn from the seed: servers, devices, walks, applications and their arrivals,
    failures, and the seed of the fading. All that is random is drawn then.
    `reset(options={"workload_seed": s})` plays one workload again, `reset(options={"workload": w})`
    plays a workload object.

    ## Episode End
    Terminated when every application has finished. Truncated after `horizon_s` (which comes at
    once where nothing is left to happen), or four steps a task and 64.

    ## Information
    After `reset`: `workload_seed`, `metrics`, `action_mask`. After `step`: `reward_terms`,
    `action_mask`; at the end also `episode_metrics`. Metrics, at any time by
    `env.unwrapped.metrics()`: `mean_makespan_s`, `p95_makespan_s`, `mean_slr` (makespan over the
    longest path with every task on its fastest place), `device_energy_j`, `computing_energy_j`,
    `sending_energy_j`, `server_energy_j`, `miss_rate` (deadlines: `deadline_factor` times the
    longest path on the device), `server_load_cv`, `jain_slowdown` (over devices),
    `offloaded_share`, `applications_finished`, `decisions`, `transfers`, `sent_mb`, `messages`,
    `handovers`, `restarted_transfers`, `returned_tasks`, `stale_actions`, `illegal_actions`,
    `clock_s`.

    ## Arguments
    ```python
    gymnasium.make("fleetgym/MECOffloading-v0", scenario="cluster", ccr=1.0, priority="edf")
    ```
    - `scenario`: name of a scenario, "small" by default.
    - `workload`: name of a workload, or an object with `name`, `capacity` and `draw(seed)`; the
      scenario's own by default.
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
    | `daggen` | graphs by DAGGEN's knobs (`tasks`, `fat`, `density`, `regular`, `ccr`, `jump`), servers on a grid and linked in a ring, devices at random; no download |
    | `llm-layers` | a tensor-parallel language model: slices that hold much memory and exchange little data, often |
    | `toy` | one device, one server, three tasks; its optimum is known by hand |
    | `alibaba-dags` | jobs of Alibaba's cluster trace of 2018; sizes by a documented rule, scaled to the scenario's means |
    | `wfcommons`, `wfcommons-...` | scientific workflows, likewise |
    | a file | task graphs: `.csv` of Alibaba's format, `.json` in WfFormat, `.npz` |

    `sites="eua-melbourne"` puts servers at base stations of Melbourne and devices where the EUA data
    set has users; `sites="topo4mec-..."` takes a network of Topo4MEC. Graphs of real traces are
    split by content: no graph of the test workloads is among those of training.

    Training and test workloads (`split`) never share a seed.

    ## Baseline scores
    In `docs/results/mec-offloading.md`; `python -m fleetgym.scripts.results mec-offloading` plays
    them again.

    ## Reference
    Gao et al., "Com-DDPG: A Multiagent Reinforcement Learning-based Offloading Strategy for Mobile
    Edge Computing", 2020; Topcuoglu et al., "Performance-Effective and Low-Complexity Task
    Scheduling for Heterogeneous Computing" (HEFT), 2002; Arabnejad and Barbosa (PEFT), 2014; Li et
    al., "TPI-LLM", 2024.

    What differs from them: every shared resource is contended, data already at a server is not sent
    again, and others are seen late.
    """  # noqa: E501

    family = FAMILY


class MECOffloadingVectorEnv(FleetVectorEnv):
    """B places at once; see `MECOffloadingEnv`."""

    family = FAMILY
