"""The Gymnasium environments of expert placement."""

from fleetgym.envs.core.env import FleetEnv
from fleetgym.envs.core.vector import FleetVectorEnv
from fleetgym.envs.expert_placement import FAMILY


class ExpertPlacementEnv(FleetEnv):
    r"""Expert placement: replicas of drifting experts, against the stall of moving them.

    ## Description
    A mixture-of-experts model is served by G GPUs in expert parallelism. Each of its L layers has
    E experts in R slots, R / G on every GPU, so that R - E replicas can be given to experts that
    are in demand. The tokens of an expert are split over its replicas, and a layer takes as long
    as its slowest GPU. Loads drift from window to window. Which experts get replicas, on which
    GPU, and when is moving weights worth the stall?

    Window after window a planner sees the loads of past windows and edits the placement; then the
    window is served. Every expert keeps one replica at least, so no token is ever dropped. A
    window takes

    | term | time |
    |---|---|
    | serving | sum over layers of max over GPUs of max(`floor_us`, `ns_per_token` x tokens + `bytes_per_token` x (inter / `inter_gb_s` + intra / `intra_gb_s`)) over `iterations_per_window` iterations |
    | stall | `migration="synchronous"`: the most experts copied to a GPU, over all layers, x `expert_mb` / `copy_gb_s`. `"overlapped"`: layers are copied one after the other while serving goes on, each layer as it was until its copy is there; serving is slower by `interference` meanwhile, and what is not there by the end of the window is waited for |
    | thinking | what `planners.toml` declares for the way in which the window was planned, x `thinking`, and the decision's latency. Serving waits for it |

    `inter` are the tokens a GPU is sent from other nodes, `intra` those it is sent from inside its
    node. Tokens begin evenly on all GPUs. A token is sent to a node once, however many experts of
    it are there, so keeping a group of experts on one node saves sends (`groups`, `group_picks`).
    `dispatch="equal"` splits an expert's tokens equally over its replicas, `"lp"` so that the
    fullest GPU of the layer serves as few as possible.

    ## Action Space
    - `action="edit"` (default): one `Discrete(max(L + 1, E + R))` in three stages. First `0..L-1`
      chooses a layer that has a legal edit, and `L` serves the window; then `0..R-1` a slot of
      it; then `0..E-1` the expert that the slot shall hold, or `E + slot` the slot to swap with.
      An expert's last replica cannot be replaced, slots of one GPU cannot swap, a layer has
      `edits_per_layer` edits a window, and no edit may give a slot back what it held when the
      window began.
    - `action="select"`: `Discrete(6)`, a window planned by `hold`, `eplb`, `eplb-global`, `lpt`,
      `lpt-mean` or `incremental` from the loads seen.
    - `action="forecast"`: `Box(0, 2**30, (L, E), int64)`, loads for which the window is packed (LPT,
      swaps, and relabelled so that few experts are copied). Only ratios within a layer matter;
      whole numbers keep replays exact. A layer of zeros stays as it is.
    - Several agents (`fleetgym.parallel_env`): each layer edits itself, all at once. `0..R-1`
      chooses a slot and `R` passes for this window; then `0..E-1` or `E + slot` is the target. The
      window is served when all have passed. They share the time, and so the GPUs' bandwidth.

    The mask is the observation's `action_mask`, `info["action_mask"]` and `env.action_masks()`.
    An action that it forbids changes nothing, costs `illegal_penalty` and is counted
    (`illegal_action="raise"`: is an `IllegalActionError`). In a forecast a negative load is one.

    ## Observation Space
    A `Dict` of what past windows showed and of the placement as it stands, edits included. Tables
    of tokens show x / (x + mean). A layer's agent sees its own layer, without the leading L.

    | entry | space | content |
    |---|---|---|
    | `experts` | `Box(0, 1, (L, E, 4))` | load of the last window, of the one before, mean of the history; replicas |
    | `gpus` | `Box(0, 1, (L, G, 3))` | tokens of the last window had this placement served it; experts to be copied in; node |
    | `layers` | `Box(0, 1, (L, 6))` | balancedness (mean / max of the GPUs' tokens); edits left; open for edits; choosing a slot; choosing a target; passed |
    | `slot_expert` | `Box(0, E - 1, (L, R), int32)` | expert of each slot, edits included |
    | `slot_begun` | `Box(0, E - 1, (L, R), int32)` | expert of each slot when the window began |
    | `progress` | `Box(0, 1, (4,))` | windows served; edits made; efficiency and stall of the last window |
    | `chosen` | `Box(-1, ..., (2,), int32)` | layer and slot being edited, or -1 (an agent: its slot) |
    | `action_mask` | `MultiBinary` | 1 where an action is legal |

    The same in tokens and ns, with the whole history, is in `env.unwrapped.simulator.state()`.

    ## Rewards
    When a window is served, minus its time / the time of the window perfectly balanced, which no
    placement beats: `serving`, `stall` and `thinking` are its terms. Edits give 0, a forbidden
    action gives `-illegal_penalty` (term `illegal`).

    ## Starting State
    A workload drawn from the seed: the loads of `history` windows that have been served, and of
    the `windows` to come. `start="planned"` begins with EPLB's plan for the last window of the
    history, `"linear"` with the experts in order. `reset(options={"workload_seed": s})` plays one
    workload again, `reset(options={"workload": w})` plays a workload object.

    ## Episode End
    Terminated when the last of `windows` windows has been served. Truncated after about twice as
    many steps as all edits take, which only illegal actions can bring about.

    ## Information
    After `reset`: `workload_seed`, `metrics`, `action_mask`. After `step`: `reward_terms`,
    `action_mask`; at the end also `episode_metrics`. Metrics, at any time by
    `env.unwrapped.metrics()`, all of the windows served: `time_s`, `relative_time` (to perfect
    balance: 1 is out of reach), `serving_s`, `stall_s`, `thinking_s`, `balancedness` (mean / max
    of the GPUs' tokens, summed over layers and windows before dividing), `layer_balancedness`
    (mean over them of the ratio), `inter_node_share` (of the tokens), `moved_gb`,
    `regret_to_hold_s` (to the first placement kept), `regret_to_clairvoyant_s` (to a placement
    packed for each window's own loads and moved for nothing; not with `regret=False`), `dropped_tokens` (always 0),
    `edits`, `illegal_actions`, `windows`.

    ## Arguments
    ```python
    gymnasium.make("fleetgym/ExpertPlacement-v0", scenario="ep32-small", drift="fast", dispatch="lp")
    ```
    - `scenario`: name of a scenario, "small" by default.
    - `workload`: name of a workload, a path to a trace, or an object with `name`, `capacity` and
      `draw(seed)`; the scenario's own by default.
    - `illegal_action`: "noop" (default) or "raise".
    - `decision_latency`: "none" (default) or "fixed:SECONDS", charged once a window.
    - `copy`: False returns read-only views that the next step overwrites.
    - `render_mode`: "ansi" (text) or "rgb_array" (picture).
    - Any field of the scenario, to replace its value; an unknown one is an error.

    ## Version History
    - v0: first version.

    ## Trace
    | workload | what is drawn |
    |---|---|
    | `generated` | log-loads of a lasting skew, topics that drift and shift all layers together, and drift of each expert (`skew`, `drift`); no download |
    | `toy` | constant loads whose best placement is known by hand |
    | a path | a `.json` or `.json.gz`: an `expert-load.json` as serving stacks write it for EPLB, or a routing trace `[token][layer][k]`, `iterations_per_window` of its tokens a window |

    How much real loads drift from window to window is not known publicly: `drift` (correlation of
    consecutive log-loads 1, 0.98, 0.95, 0.81 for none, slow, medium, fast; or abrupt changes) is a
    parameter to sweep, and no result holds for a real system before its drift has been measured.
    Training and test workloads (`split`) that are drawn never share a seed.

    ## Baseline scores
    In `docs/results/expert-placement.md`, for every drift; `python -m fleetgym.scripts.results
    expert-placement` plays them again.

    ## Reference
    DeepSeek-AI, "Expert Parallelism Load Balancer", https://github.com/deepseek-ai/EPLB, 2025, and
    "DeepSeek-V3 Technical Report"; Cheng et al., "Barbarians at the Gate: How AI is Upending
    Systems Research", 2025, which takes EPLB as a task.

    What differs from it: those score one packing of known loads. Here loads drift, are seen a
    window late, and what a plan moves and how long it takes to find are charged. Static packing is
    solved: LPT with swaps balances 58 x 256 experts to 0.999 and more.
    """  # noqa: E501

    family = FAMILY


class ExpertPlacementVectorEnv(FleetVectorEnv):
    """B servers at once; see `ExpertPlacementEnv`."""

    family = FAMILY
