"""Schedulers for LLM serving, each runnable by name."""

from collections.abc import Callable, Sequence

from fleetgym.baselines.policy import Baseline, RandomLegal
from fleetgym.baselines.request_preemption import (
    batchllm,
    continuum,
    edf,
    fastswitch,
    fixed_pins,
    full_fit,
    hold,
    infercept,
    las,
    llumnix,
    mlfq,
    paced,
    routers,
    sarathi,
    slo_fit,
    srpt,
    vllm_v0,
    vllm_v1,
    vtc,
)
from fleetgym.baselines.request_preemption.kernel_policy import KernelPolicy, Rule
from fleetgym.baselines.request_preemption.pins import OwnOf, PinPolicy

RULES: dict[str, tuple[Rule, Sequence[float], str]] = {
    "hold": (hold.rule, (), "one batch at a time: what doing nothing is worth"),
    "vllm-v1-fcfs": (vllm_v1.fcfs, (), "vLLM v1, first come first served"),
    "vllm-v1-priority": (vllm_v1.priority, (), "vLLM v1, by priority"),
    "vllm-v0": (vllm_v0.rule, vllm_v0.PARAMETERS, "vLLM v0 (SOSP'23): prefills or decodes"),
    "fcfs-full-fit": (full_fit.fcfs, full_fit.PLAIN, "FCFS, admits what fits to its end"),
    "fcfs-full-fit-reserve": (full_fit.fcfs, full_fit.RESERVED, "the same, 5 blocks kept each"),
    "sjf-full-fit": (full_fit.sjf, full_fit.PLAIN, "shortest job first, what fits to its end"),
    "sarathi": (sarathi.rule, sarathi.PARAMETERS, "stall-free chunked prefills (OSDI'24)"),
    "las": (las.rule, las.PARAMETERS, "least attained service, preemptive"),
    "edf": (edf.rule, edf.PARAMETERS, "earliest due target first, late ones last"),
    "srpt-predicted": (srpt.rule, srpt.PARAMETERS, "shortest remaining time, as predicted"),
    "vtc": (vtc.rule, vtc.PARAMETERS, "fair by virtual token counters (OSDI'24)"),
    "fastswitch": (fastswitch.rule, fastswitch.PARAMETERS, "highest priorities run (FastSwitch)"),
    "slo-fit": (slo_fit.rule, slo_fit.PARAMETERS, "whoever can still be in time, smallest first"),
    "paced": (paced.rule, paced.PARAMETERS, "the same, prompts paced so that decodes stay in time"),
    "batchllm": (batchllm.rule, full_fit.RESERVED, "FCFS, requests of one prefix together"),
    "round-robin": (routers.round_robin, full_fit.RESERVED, "instances in turn, FCFS in each"),
    "least-loaded": (routers.least_loaded, full_fit.RESERVED, "to the fewest requests"),
    "least-blocks": (routers.least_blocks, full_fit.RESERVED, "to the most free blocks"),
    "llumnix": (llumnix.rule, llumnix.PARAMETERS, "dispatch by freeness, live migration (OSDI'24)"),
    "llumnix-dispatch": (llumnix.rule, llumnix.NO_MIGRATION, "the same, without migration"),
}
PIN_RULES: dict[str, tuple[Rule, OwnOf, str]] = {
    "prefix-lru": (fixed_pins.rule, fixed_pins.never, "no pins: the prefix cache alone, FCFS"),
    "always-pin": (fixed_pins.rule, fixed_pins.always, "every turn pinned as long as may be"),
    "continuum": (continuum.rule, continuum.parameters_of, "time to live by Continuum"),
    "infercept": (infercept.rule, infercept.parameters_of, "the least waste (ICML'24)"),
}


def _player(name: str) -> Callable[[float, int], KernelPolicy]:
    rule, parameters, _ = RULES[name]
    return lambda seconds, seed: KernelPolicy(name, rule, parameters)


def _pinner(name: str) -> Callable[[float, int], PinPolicy]:
    rule, own_of, _ = PIN_RULES[name]
    return lambda seconds, seed: PinPolicy(name, rule, own_of)


def _mlfq(seconds: float, seed: int) -> KernelPolicy:
    return KernelPolicy("mlfq", mlfq.rule, mlfq.PARAMETERS, per_slot=mlfq.PER_SLOT)


def _srpt(seconds: float, seed: int) -> KernelPolicy:
    return KernelPolicy("srpt", srpt.rule, srpt.PARAMETERS, foresight=srpt.true_outputs)


BASELINES: tuple[Baseline, ...] = (
    Baseline("random", "uniform over the legal actions", lambda seconds, seed: RandomLegal(seed)),
    *(Baseline(name, summary, _player(name)) for name, (_, _, summary) in RULES.items()),
    *(Baseline(name, summary, _pinner(name)) for name, (_, _, summary) in PIN_RULES.items()),
    Baseline("mlfq", "skip-join multi-level feedback queue (FastServe)", _mlfq),
    Baseline("srpt", "shortest remaining time, clairvoyant", _srpt),
)
