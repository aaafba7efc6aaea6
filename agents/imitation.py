"""Behaviour cloning of an expert's plans, with some decisions left to the network itself.

A plan is a set of migrations whose order hardly matters, and VMs of a kind on one node are
interchangeable. So the loss is minus the log of the probability of choosing *any* VM that the
rest of the plan moves now (or its like), and of any target the plan has for VMs of that kind.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fleetgym.agents.experts import Plan
from fleetgym.agents.networks.fleet import FleetNet, Observation
from fleetgym.envs.vm_rescheduling.simulator import AGENT, VMReschedulingSimulator

Bool = NDArray[np.bool_]
Int64 = NDArray[np.int64]
CLOSED = -1e9  # logit of what the mask forbids


def observe(simulator: VMReschedulingSimulator) -> Observation:
    """The observation of all worlds as tensors, copied."""
    entries = simulator.observation()[AGENT]
    return Observation(
        torch.from_numpy(entries["pms"][:, 0].copy()),
        torch.from_numpy(entries["vms"][:, 0].copy()),
        torch.from_numpy(entries["vm_host"][:, 0].astype(np.int64)),
        torch.from_numpy(entries["progress"][:, 0].copy()),
    )


def open_mask(simulator: VMReschedulingSimulator) -> Bool:
    """The mask ``(B, V + 1 + 2P)`` as booleans, copied."""
    return simulator.action_mask()[AGENT][:, 0] > 0


def advance(simulator: VMReschedulingSimulator, actions: Int64) -> None:
    """Steps the worlds that are not over, ``actions`` (B,) flat."""
    simulator.step({AGENT: actions[:, None]}, ~simulator.over())


class Lesson:
    """B worlds in which the expert's plans are carried out, and what it would choose now.

    Args:
        simulator: of B worlds, reset to the workloads of the plans.
        plans: one a world.
    """

    def __init__(self, simulator: VMReschedulingSimulator, plans: Sequence[Plan]) -> None:
        self.simulator = simulator
        b, k = len(plans), max(1, max(len(plan.moves) for plan in plans))
        self.vm = np.zeros((b, k), np.int64)
        self.slot = np.zeros((b, k), np.int64)
        self.todo = np.zeros((b, k), np.bool_)
        for i, (moves, _) in enumerate(plans):
            self.vm[i, : len(moves)], self.slot[i, : len(moves)] = moves.T
            self.todo[i, : len(moves)] = True
        again = (self.vm[:, :, None] == self.vm[:, None, :]) & self.todo[:, None, :]
        earlier = np.tril(again, -1)  # a stop-over: the VM is planned to move twice
        self.before = np.where(earlier.any(axis=2), k - 1 - earlier[:, :, ::-1].argmax(axis=2), -1)
        self.goal = np.array([plan.goal for plan in plans], np.float32)
        self.world = np.arange(b)[:, None]

    def ready(self) -> Bool:
        """Which planned migrations are to be made and follow no other one of the same VM."""
        return self.todo & ~((self.before >= 0) & self.todo[self.world, self.before])

    def possible(self) -> Bool:
        """Which planned migrations could be made now, ``(B, K)``."""
        s = self.simulator.state()
        kind = s.vm_type[self.world, self.vm]
        fits = self.ready() & (kind >= 0)

        def room(slot: Int64) -> Bool:
            return np.asarray(
                (s.free_cores[self.world, slot] >= s.type_cores[self.world, kind])
                & (s.free_memory[self.world, slot] >= s.type_memory[self.world, kind])
                & (s.free_gpu[self.world, slot] >= s.type_gpu[self.world, kind])
            )

        double = s.type_double[self.world, kind] == 1
        return np.asarray(fits & room(self.slot) & (~double | room(self.slot ^ 1)))

    def vm_labels(self, possible: Bool) -> Bool:
        """VMs ``(B, V + 1)`` the expert might choose now; STOP where nothing is left to do."""
        s = self.simulator.state()
        b, v = s.vm_pm.shape
        key = (2 * s.vm_pm + s.vm_numa).astype(np.int64) * s.type_cores.shape[1] + s.vm_type
        key = np.where(s.vm_pm >= 0, key, -1)
        size = 2 * s.pm_rack.shape[1] * s.type_cores.shape[1]
        wanted = np.zeros((b, size + 1), np.bool_)
        planned = np.where(possible, key[self.world, self.vm], size)
        wanted[self.world, planned] = True
        wanted[:, size] = False
        labels = np.zeros((b, v + 1), np.bool_)
        labels[:, :v] = wanted[self.world, key] & (key >= 0)
        labels[:, v] = ~labels.any(axis=1)
        return labels

    def slot_labels(self, possible: Bool, vm: Int64) -> Bool:
        """Targets ``(B, 2P)`` that the plan has for VMs of the kind of ``vm`` (B,)."""
        s = self.simulator.state()
        kind = s.vm_type[self.world, self.vm]
        mine = s.vm_type[self.world, vm[:, None]]
        labels = np.zeros((len(vm), 2 * s.pm_rack.shape[1] + 1), np.bool_)
        labels[self.world, np.where(possible & (kind == mine), self.slot, -1)] = True
        return labels[:, :-1]

    def settle(self, vm: Int64, slot: Int64, acted: Bool) -> None:
        """Notes the migrations made: crosses off the plan what they amount to."""
        s = self.simulator.state()
        place = 2 * s.vm_pm.astype(np.int64) + s.vm_numa
        mine = vm[:, None]
        alike = (
            self.ready()
            & (s.vm_type[self.world, self.vm] == s.vm_type[self.world, mine])
            & acted[:, None]
        )
        leaving = alike & (place[self.world, self.vm] == place[self.world, mine])
        coming = alike & (self.slot == slot[:, None])
        for i in np.flatnonzero(acted & alike.any(axis=1)):
            self._cross_off(int(i), leaving[i], coming[i])

    def _cross_off(self, i: int, leaving: Bool, coming: Bool) -> None:
        """One VM has left where ``leaving`` ones are, for where ``coming`` ones go."""
        both = leaving & coming
        if both.any():
            self.todo[i, int(both.argmax())] = False
        elif leaving.any():
            k = int(leaving.argmax())
            if coming.any():  # the migration that had this target takes over the other one's
                self.slot[i, int(coming.argmax())] = self.slot[i, k]
            self.todo[i, k] = False
        elif coming.any():
            self.todo[i, int(coming.argmax())] = False


def any_of(logits: Tensor, legal: Tensor, labels: Tensor) -> Tensor:
    """Minus the log-probability ``(B,)`` of choosing one of the labels among what is legal."""
    closed = logits.masked_fill(~legal, CLOSED)
    hits = logits.masked_fill(~(labels & legal), CLOSED)
    return torch.logsumexp(closed, 1) - torch.logsumexp(hits, 1)


def sample(logits: Tensor, legal: Tensor) -> Tensor:
    """One draw a row among what is legal, ``(B,)``."""
    noise = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-9, 1 - 1e-7)))
    return (logits + noise).masked_fill(~legal, CLOSED).argmax(1)


def lesson_loss(
    network: FleetNet,
    lesson: Lesson,
    own_choice: float,
    value_weight: float,
    rng: np.random.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """One decision of every world: its loss and the parts of it; the worlds are stepped on.

    They are stepped by the network's own choice among what the expert might do, so that the
    states are those it will meet.

    Args:
        network: to be taught.
        lesson: the worlds.
        own_choice: share of decisions the network makes itself.
        value_weight: of the value's squared error.
        rng: of the choice among what the expert might do.
    """
    simulator = lesson.simulator
    v = simulator.sizes.vms
    running = torch.from_numpy(~simulator.over())
    obs = observe(simulator)
    legal = torch.from_numpy(open_mask(simulator)[:, : v + 1])
    possible = lesson.possible()
    labels = torch.from_numpy(lesson.vm_labels(possible))
    encoding = network.encode(obs)
    fleet = network.summary(encoding, obs.progress)
    vm_logits = network.score_vms(encoding, fleet)
    hit = (labels & legal).any(1) & running
    vm_loss = any_of(vm_logits, legal, labels)[hit].mean() if hit.any() else vm_logits.sum() * 0
    left = obs.progress[:, 4] - torch.from_numpy(lesson.goal)
    value_loss = ((network.values(fleet) - left)[running] ** 2).mean()

    own = torch.from_numpy(rng.random(len(lesson.goal)) < own_choice)
    with torch.no_grad():
        chosen = sample(vm_logits, torch.where((hit & ~own)[:, None], labels & legal, legal))
    advance(simulator, chosen.numpy())
    choosing = simulator.state().chosen >= 0
    vm = np.where(choosing, chosen.numpy(), 0)
    slot_labels = torch.from_numpy(lesson.slot_labels(possible, vm))
    slot_legal = torch.from_numpy(open_mask(simulator)[:, v + 1 :])
    slot_logits = network.score_slots(encoding, fleet, obs, torch.from_numpy(vm))
    taught = (slot_labels & slot_legal).any(1) & torch.from_numpy(choosing)
    slot_loss = slot_logits.sum() * 0
    if taught.any():
        slot_loss = any_of(slot_logits, slot_legal, slot_labels)[taught].mean()
    with torch.no_grad():
        among = torch.where((taught & ~own)[:, None], slot_labels & slot_legal, slot_legal)
        slot = sample(slot_logits, among).numpy()
    lesson.settle(vm, slot, choosing)
    advance(simulator, np.where(choosing, slot + v + 1, v))
    loss = vm_loss + slot_loss + value_weight * value_loss
    return loss, {
        "loss": float(loss.detach()),
        "vm": float(vm_loss.detach()),
        "slot": float(slot_loss.detach()),
        "value": float(value_loss.detach()),
    }
