"""How a server is shown: every layer a row of GPUs, every GPU a stack of its slots' tokens."""

from typing import NamedTuple

import numpy as np

from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.expert_placement.scenario import ExpertPlacementScenario
from fleetgym.envs.expert_placement.types import State

SHOWN = 12  # layers at most: the least balanced ones


class Segment(NamedTuple):
    """One replica in the stack of its GPU."""

    expert: int
    tokens: float  # its share of the last window, split equally
    several: bool  # the expert has other replicas
    moved: bool  # it was not on this GPU when the window began


class Layer(NamedTuple):
    """A layer's GPUs under the placement as it stands, with the loads of the last window."""

    number: int
    stacks: list[list[Segment]]  # of each GPU, heaviest first
    mean: float  # tokens of a GPU
    edits_left: int

    @property
    def fullest(self) -> float:
        """Tokens of the fullest GPU."""
        return max(sum(segment.tokens for segment in stack) for stack in self.stacks)

    @property
    def balancedness(self) -> float:
        """Mean over maximum."""
        return self.mean / self.fullest


class Server(NamedTuple):
    """One world, ready to be shown."""

    scenario: ExpertPlacementScenario
    layers: list[Layer]  # those shown
    window: int
    seconds: float
    edits: int  # of this window
    chosen: int  # layer being edited, or -1
    metrics: dict[str, float]


def server_of(simulator: Simulator, world: int) -> Server:
    """One world of an expert placement simulator, ready to be shown."""
    scenario, state = simulator.scenario, simulator.state()
    assert isinstance(scenario, ExpertPlacementScenario)
    assert isinstance(state, State)
    layers = [_layer(scenario, state, world, layer) for layer in range(scenario.layers)]
    worst = sorted(sorted(layers, key=lambda layer: layer.balancedness)[:SHOWN])
    edits = scenario.edits_per_layer * scenario.layers - int(state.edits_left[world].sum())
    return Server(
        scenario=scenario,
        layers=worst,
        window=int(state.window[world]),
        seconds=float(simulator.now()[world]) / 1e9,
        edits=edits,
        chosen=int(state.layer[world]),
        metrics={name: float(value[world]) for name, value in simulator.metrics().items()},
    )


def _layer(scenario: ExpertPlacementScenario, state: State, world: int, layer: int) -> Layer:
    plan, begun = state.plan[world, layer], state.begun[world, layer]
    replicas, load = state.replicas[world, layer], state.history[world, 0, layer]
    share = (load[plan] / replicas[plan]).tolist()
    stacks, size = [], scenario.slots_per_gpu
    for first in range(0, scenario.slots, size):
        there = set(begun[first : first + size].tolist())
        stack = [
            Segment(int(plan[slot]), share[slot], replicas[plan[slot]] > 1, plan[slot] not in there)
            for slot in range(first, first + size)
        ]
        stacks.append(sorted(stack, key=lambda segment: -segment.tokens))
    mean = float(np.sum(load, dtype=np.int64)) / scenario.gpus
    return Layer(layer, stacks, mean, int(state.edits_left[world, layer]))


def heading(server: Server) -> list[str]:
    """What stands above the bars."""
    scenario, m = server.scenario, server.metrics
    shown = len(server.layers)
    which = "" if shown == scenario.layers else f"; the {shown} least balanced are shown"
    return [
        f"{scenario.name} ({scenario.workload}): {scenario.layers} layers x {scenario.experts} "
        f"experts, {scenario.slots} slots on {scenario.gpus} GPUs, {scenario.nodes} node(s){which}",
        f"window {server.window} of {scenario.windows}   edits {server.edits}   "
        f"clock {server.seconds:.2f} s   time / balanced {m['relative_time']:.3f}   "
        f"stall {m['stall_s']:.3f} s   moved {m['moved_gb']:.1f} GB",
    ]
