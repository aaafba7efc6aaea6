"""A policy network for fleets of any size: attention over the tree of machines and their VMs.

Cost is O(V + P): VMs attend within their machine only (a segment softmax); machines meet in a
pooled summary of the fleet. An encoding is kept in parts, so that after a migration only the
machines that changed are encoded again (`FleetNet.update`).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fleetgym.envs.vm_rescheduling.types import (
    NODE_FEATURES,
    PM_FEATURES,
    PROGRESS,
    VM_FEATURES,
)

FREE, FRAGMENT = 0, NODE_FEATURES - 1  # of a node's features
DOUBLE, NUMA, PRESENT = 3, 4, 5  # of a VM's features
REMAINDER = VM_FEATURES.index("remainder")
PAIR_FEATURES = 6
KEY = 16  # width of the keys by which VMs are scored: all of them, at every decision


class Observation(NamedTuple):
    """The canonical observation as tensors."""

    pms: Tensor  # (B, P, len(PM_FEATURES))
    vms: Tensor  # (B, V, len(VM_FEATURES))
    host: Tensor  # (B, V) int64, -1 where absent
    progress: Tensor  # (B, len(PROGRESS))


class Encoding(NamedTuple):
    """What the network knows of B fleets; rows belong to VMs, slots (NUMA nodes) and fleets."""

    vms: Tensor  # (B, V, H), 0 where absent
    vm_keys: Tensor  # (B, V, KEY)
    slot_keys: Tensor  # (B, 2P, H)
    slots: Tensor  # (B, 2P, H)
    vm_sum: Tensor  # (B, H) over VMs
    slot_sum: Tensor  # (B, H) over slots
    num_vms: Tensor  # (B, 1)


class FleetNet(nn.Module):
    """Scores of VMs to move, of stopping, and of targets; and the value of the state.

    Args:
        width: H, of every hidden layer.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        vm_inputs = len(VM_FEATURES) + 2 * NODE_FEATURES + 2
        self.width = width
        self.vm_in = nn.Sequential(nn.Linear(vm_inputs, width), nn.ReLU())
        self.attend = nn.Linear(width, 1)
        self.pm_in = nn.Sequential(nn.Linear(len(PM_FEATURES) + width, width), nn.ReLU())
        self.vm_out = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU())
        self.slot_out = nn.Sequential(nn.Linear(2 * NODE_FEATURES + width, width), nn.ReLU())
        self.fleet = nn.Sequential(
            nn.Linear(2 * width + len(PROGRESS), 2 * width),
            nn.ReLU(),
            nn.Linear(2 * width, width),
            nn.ReLU(),
        )
        self.vm_key = nn.Linear(width, KEY)
        self.vm_query = nn.Linear(width, KEY)
        self.vm_score = nn.Linear(KEY, 1)
        self.stop = nn.Linear(width, 1)
        self.slot_key = nn.Linear(width, width)
        self.slot_query = nn.Linear(2 * width, width)
        self.slot_pair = nn.Linear(PAIR_FEATURES, width)
        self.slot_score = nn.Linear(width, 1)
        self.value = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def encode(self, obs: Observation) -> Encoding:
        """Encodes whole fleets."""
        b, p, _ = obs.pms.shape
        present = obs.host >= 0
        world = torch.arange(b, device=obs.host.device).unsqueeze(1)
        segment = (world * p + obs.host.clamp(min=0))[present]
        vms, slots = self._encode(obs.pms.reshape(b * p, -1), obs.vms[present], segment)
        table = vms.new_zeros(*obs.host.shape, self.width)
        table[present] = vms
        keys = vms.new_zeros(*obs.host.shape, KEY)
        keys[present] = self.vm_key(vms)
        slots = slots.reshape(b, 2 * p, self.width)
        count = present.sum(1, keepdim=True).float()
        return Encoding(table, keys, self.slot_key(slots), slots, table.sum(1), slots.sum(1), count)

    def _encode(self, pms: Tensor, vms: Tensor, segment: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes N machines with the M VMs on them.

        Args:
            pms: ``(N, len(PM_FEATURES))``.
            vms: ``(M, len(VM_FEATURES))``.
            segment: ``(M,)`` machine of each VM.

        Returns:
            VMs ``(M, H)`` and slots ``(N, 2, H)``.
        """
        n = len(pms)
        nodes = pms[:, : 2 * NODE_FEATURES].reshape(n, 2, NODE_FEATURES)
        turned = torch.stack((nodes.flatten(1), nodes.flip(1).flatten(1)), 1)  # own node first
        seat = 2 * segment + vms[:, NUMA].long()
        seats = turned.reshape(2 * n, -1)[seat]
        hidden = self.vm_in(torch.cat((vms, seats, _leaving(vms, seats)), 1))
        pooled = self._pool(hidden, segment, n)
        machine = self.pm_in(torch.cat((pms, pooled), 1))
        out = self.vm_out(torch.cat((hidden, machine[segment]), 1))
        slots = self.slot_out(torch.cat((turned, machine.unsqueeze(1).expand(-1, 2, -1)), 2))
        return out, slots

    def _pool(self, hidden: Tensor, segment: Tensor, n: int) -> Tensor:
        """Attention of each of N machines over its VMs; 0 for an empty one."""
        weight = self.attend(hidden).squeeze(1).clamp(-15, 15).exp()
        total = weight.new_zeros(n).index_add(0, segment, weight)
        mixed = hidden.new_zeros(n, self.width).index_add(0, segment, hidden * weight.unsqueeze(1))
        mean: Tensor = mixed / total.clamp(min=1e-9).unsqueeze(1)
        return mean

    def update(self, encoding: Encoding, obs: Observation, changed: Tensor) -> None:
        """Encodes again, in place, the machines that a migration changed and the VMs on them.

        Args:
            encoding: of the fleets before.
            obs: of the fleets now.
            changed: ``(B, 2)`` machines, source and target (may be equal).
        """
        b = len(obs.pms)
        world = torch.arange(b, device=changed.device).unsqueeze(1)
        first = obs.host == changed[:, :1]
        second = (obs.host == changed[:, 1:]) & ~first
        rows, cols = (first | second).nonzero(as_tuple=True)
        segment = 2 * rows + second[rows, cols].long()
        vms, slots = self._encode(
            obs.pms[world, changed].reshape(2 * b, -1), obs.vms[rows, cols], segment
        )
        vm_change = vms - encoding.vms[rows, cols]
        encoding.vms[rows, cols] = vms
        encoding.vm_keys[rows, cols] = self.vm_key(vms)
        encoding.vm_sum.index_add_(0, rows, vm_change)
        seats = (2 * changed).unsqueeze(2) + torch.arange(2, device=changed.device)
        slots = slots.reshape(b, 2, 2, self.width)
        same = (changed[:, 0] == changed[:, 1]).view(b, 1, 1)
        slots[:, 1] = torch.where(same, slots[:, 0], slots[:, 1])
        change = slots - encoding.slots[world.unsqueeze(2), seats]
        change[:, 1].masked_fill_(same, 0.0)
        encoding.slots[world.unsqueeze(2), seats] = slots
        encoding.slot_keys[world.unsqueeze(2), seats] = self.slot_key(slots)
        encoding.slot_sum.add_(change.sum((1, 2)))

    def summary(self, encoding: Encoding, progress: Tensor) -> Tensor:
        """The fleet as a whole, ``(B, H)``."""
        slots = encoding.slot_sum / encoding.slots.shape[1]
        vms = encoding.vm_sum / encoding.num_vms.clamp(min=1)
        pooled: Tensor = self.fleet(torch.cat((slots, vms, progress), 1))
        return pooled

    def score_vms(self, encoding: Encoding, fleet: Tensor) -> Tensor:
        """Logits ``(B, V + 1)`` of the VMs and of stopping."""
        hidden = torch.relu(encoding.vm_keys + self.vm_query(fleet).unsqueeze(1))
        return torch.cat((self.vm_score(hidden).squeeze(2), self.stop(fleet)), 1)

    def score_slots(
        self, encoding: Encoding, fleet: Tensor, obs: Observation, vm: Tensor
    ) -> Tensor:
        """Logits ``(B, 2P)`` of the targets of one chosen VM in each world, ``vm`` (B,)."""
        world = torch.arange(len(vm), device=vm.device)
        chosen = obs.vms[world, vm]
        query = self.slot_query(torch.cat((encoding.vms[world, vm], fleet), 1))
        pair = self.slot_pair(_pair(obs, chosen, obs.host[world, vm]))
        hidden = torch.relu(encoding.slot_keys + query.unsqueeze(1) + pair)
        scores: Tensor = self.slot_score(hidden)
        return scores.squeeze(2)

    def values(self, fleet: Tensor) -> Tensor:
        """Value of the state, ``(B,)``."""
        value: Tensor = self.value(fleet)
        return value.squeeze(1)


def _leaving(vms: Tensor, seats: Tensor) -> Tensor:
    """Fragment of the VM's node without it, and the change of it: ``(M, 2)``, in units of X."""
    fragment = seats[:, FRAGMENT]
    after = (fragment + vms[:, REMAINDER] + 1e-4) % 1.0
    return torch.stack((after, after - fragment), 1)


def _pair(obs: Observation, chosen: Tensor, host: Tensor) -> Tensor:
    """What becomes of each node if the chosen VM comes: ``(B, 2P, PAIR_FEATURES)``.

    Its fragment and the change of it, the same for the machine's other node where the VM takes
    both, whether the machine is the VM's own, and whether its group has filled the machine.
    """
    b, p, _ = obs.pms.shape
    nodes = obs.pms[..., : 2 * NODE_FEATURES].reshape(b, p, 2, NODE_FEATURES)
    fragment = nodes[..., FRAGMENT]
    after = (fragment - chosen[:, REMAINDER].view(b, 1, 1) + 1e-4) % 1.0
    double = chosen[:, DOUBLE].view(b, 1, 1)
    other_after, other_change = after.flip(2) * double, (after - fragment).flip(2) * double
    own = (torch.arange(p, device=host.device) == host.unsqueeze(1)).float()
    full = obs.pms[..., -1]
    both = torch.stack((own, full), 2).unsqueeze(2).expand(-1, -1, 2, -1)
    parts = torch.stack((after, after - fragment, other_after, other_change), 3)
    return torch.cat((parts, both), 3).reshape(b, 2 * p, PAIR_FEATURES)
