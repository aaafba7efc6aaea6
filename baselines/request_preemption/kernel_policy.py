"""Policies that are one compiled rule: played step by step, or inside a rollout.

Numba compiles what takes a function anew for every function, and does not find it in its cache. So
rules are handed over as pointers: whatever calls a rule is compiled once, for all of them.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from numba import typeof, types
from numba.core.types import WrapperAddressProtocol
from numpy.typing import NDArray

from fleetgym.baselines.request_preemption.common import FIELDS, KEYS, PS_PER_S
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.core.view import View
from fleetgym.envs.hardware import gpu
from fleetgym.envs.request_preemption.layout import Actions
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.simulator import INSTANCE, ROUTER, SCHEDULER
from fleetgym.envs.request_preemption.types import (
    BLOCK,
    DISPATCH,
    FOCUS,
    KIND,
    OVER,
    REBALANCE,
    Float64,
    Int64,
    State,
)
from fleetgym.envs.request_preemption.workloads import ServingWorkload

TIMELY = 0.95  # of the target between tokens, since nobody knows a batch beforehand
USUAL_CONTEXT = 500  # tokens of a request that decodes

Rule = Callable[[State, int, Float64, Float64], int]
Foresight = Callable[[ServingWorkload], Float64]


@kernel
def ask(state: State, rule: Rule, parameters: Float64, memory: Float64, out: Int64) -> None:
    """Writes the rule's action for every world that is not over, ``(B,)``."""
    for b in range(len(out)):
        out[b] = 0
        if state.scalars[b, KIND] != OVER:
            out[b] = rule(state, b, parameters, memory)


def _types_of(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(typeof(argument) for argument in arguments)  # type: ignore[no-untyped-call]


class RulePointer(WrapperAddressProtocol):
    """A rule compiled for the arrays of one simulator, as kernels take it.

    Args:
        rule: compiled by `fleetgym.envs.core.jit.kernel`.
        arguments: examples of what it is called with, whose types count.
    """

    def __init__(self, rule: Any, arguments: tuple[Any, ...]) -> None:
        found = _types_of(arguments)
        rule.compile(found)
        compiled = rule.overloads[found]
        self._signature = types.int64(*found)
        if compiled.signature.return_type != types.int64:
            raise PolicyError(
                f"rule {rule.__module__}.{rule.__name__} returns "
                f"{compiled.signature.return_type}, it must return the number of an action (int64)"
            )
        self._kept = compiled  # the code lives as long as this does
        name = compiled.fndesc.llvm_cfunc_wrapper_name
        self._address = compiled.library.get_pointer_to_function(name)

    def __wrapper_address__(self) -> int:
        """Where the code is."""
        return int(self._address)

    def signature(self) -> Any:
        """What it takes and returns."""
        return self._signature

    def __call__(self, state: State, b: int, parameters: Float64, memory: Float64) -> int:
        """The rule's action; kernels call the address instead."""
        return int(self._kept.entry_point(state, b, parameters, memory))


def parameters_of(scenario: RequestPreemptionScenario, own: Sequence[float] = ()) -> Float64:
    """What a rule is given: numbers of the scenario by `common.FIELDS`, then its own."""
    known = {
        "kv_blocks": scenario.kv_blocks,
        "token_budget": scenario.token_budget,
        "max_num_seqs": scenario.max_num_seqs,
        "ttft_slo": round(scenario.ttft_slo_s * PS_PER_S),
        "tbt_slo": round(scenario.tbt_slo_s * PS_PER_S),
        "timely_tokens": timely_tokens(scenario),
    }
    return np.array([*(known[name] for name in FIELDS), *own], np.float64)


@cache
def timely_tokens(scenario: RequestPreemptionScenario) -> int:
    """Tokens of a prompt that fit into `TIMELY` of the target between tokens; 0 if none do.

    Beside them decode requests that fill half of the pool, of the usual size.
    """
    time = gpu.load(scenario.model, scenario.gpu, scenario.tp)
    decode = [USUAL_CONTEXT] * max(1, scenario.kv_blocks * BLOCK // 2 // USUAL_CONTEXT)
    target = TIMELY * scenario.tbt_slo_s / scenario.stack_overhead
    fits = (
        n
        for n in range(scenario.token_budget, 0, -BLOCK)
        if time.seconds([(0, n)], decode) <= target
    )
    return next(fits, 0)


class KernelPolicy:
    """Plays every world by one rule.

    Args:
        name: of the policy.
        rule: ``rule(state, b, parameters, memory)``: the action of world ``b`` as under central
            control, compiled by `fleetgym.envs.core.jit.kernel`. It is called once for each action
            and sees nothing but the state.
        own: its own parameters, behind those of `parameters_of`.
        per_slot: numbers it keeps for each slot, zeroed at reset.
        foresight: makes the numbers a clairvoyant rule keeps of a workload, one for each row.

    Attributes:
        kernel: the rule, for ``simulator.rollout``, from the first reset on.
        parameters, memory: what goes with it, likewise.
    """

    information: Literal["online", "clairvoyant"]

    def __init__(
        self,
        name: str,
        rule: Rule,
        own: Sequence[float] = (),
        *,
        per_slot: int = 0,
        foresight: Foresight | None = None,
    ) -> None:
        self.name = name
        self.information = "online" if foresight is None else "clairvoyant"
        self.parameters: Float64 = np.zeros(0)
        self.memory: Float64 = np.zeros((0, 0))
        self._rule, self._own, self._per_slot = rule, tuple(own), per_slot
        self._foresight = foresight
        self._pointers: dict[Any, RulePointer] = {}

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Forgets what was kept of the named worlds.

        Raises:
            PolicyError: actions are scores, which rules do not give.
        """
        scenario = _scenario(view)
        if scenario.action != "pointer":
            raise PolicyError(
                f"policy {self.name!r} chooses single edits: it plays action='pointer', not "
                f"{scenario.action!r}"
            )
        self.parameters = parameters_of(scenario, self._own)
        kept = [self._kept(view, int(world)) for world in worlds]
        width = max((len(numbers) for numbers in kept), default=1)
        before = self.memory if len(self.memory) == view.num_worlds else np.zeros((0, 0))
        if len(before) == 0 or before.shape[1] < width:
            self.memory = np.zeros((view.num_worlds, width))
            self.memory[: len(before), : before.shape[1]] = before
        for world, numbers in zip(worlds, kept, strict=True):
            self.memory[world] = 0.0
            self.memory[world, : len(numbers)] = numbers
        self.kernel = self._pointer(view)

    def _kept(self, view: View, world: int) -> Float64:
        """What a world's memory begins with: numbers of slots or of rows, then keys."""
        scenario = _scenario(view)
        keys = np.zeros(KEYS * scenario.slots)
        if self._foresight is None:
            own = np.zeros(self._per_slot * scenario.instances * scenario.slots)
            return np.concatenate([own, keys])
        workload = view.future(world)
        if not isinstance(workload, ServingWorkload):
            raise PolicyError(f"policy {self.name!r} cannot read workload {workload.name!r}")
        return np.concatenate([self._foresight(workload), keys])

    def _pointer(self, view: View) -> RulePointer:
        arguments = (view.state(), 0, self.parameters, self.memory)
        key = _types_of(arguments)
        if key not in self._pointers:
            self._pointers[key] = RulePointer(self._rule, arguments)
        return self._pointers[key]

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The rule's action in every world, given to the agent that is asked."""
        state: Any = view.state()
        chosen = np.zeros(view.num_worlds, np.int64)
        ask(state, self.kernel, self.parameters, self.memory, chosen)
        return by_role(view, state, chosen)


def by_role(view: View, state: State, chosen: Int64) -> dict[str, NDArray[np.int64]]:
    """Actions as under central control ``(B,)``, as the agents of a scenario take them."""
    if SCHEDULER in view.roles:
        return {SCHEDULER: chosen[:, None]}
    kind, focus = state.scalars[:, KIND], state.scalars[:, FOCUS]
    router = (kind == DISPATCH) | (kind == REBALANCE)
    of_instance = np.zeros((len(chosen), len(view.roles[INSTANCE].agents)), np.int64)
    of_instance[np.arange(len(chosen)), focus] = np.where(router, 0, chosen)
    actions = {INSTANCE: of_instance}
    if ROUTER in view.roles:
        first = Actions.of(_scenario(view)).instance
        routed = np.where(router & (chosen > 0), chosen - first + 1, 0)
        actions[ROUTER] = routed[:, None]
    return actions


def _scenario(view: View) -> RequestPreemptionScenario:
    scenario = view.scenario
    if not isinstance(scenario, RequestPreemptionScenario):
        raise PolicyError(f"scenario {scenario.name!r} is none of request preemption")
    return scenario
