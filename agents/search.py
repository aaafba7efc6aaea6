"""Deciding with a network: whole plans sampled in imagination, K at once, and the best one taken.

Risk-seeking evaluation (VMR2L, EuroSys'25): what counts is the best of K plans, since a plan can
be judged before the first VM moves.
"""

import time
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fleetgym.agents.imitation import CLOSED, advance, observe, open_mask, sample
from fleetgym.agents.networks.fleet import Encoding, FleetNet
from fleetgym.baselines.vm_rescheduling.planning import PlanCarrier
from fleetgym.envs.core.view import View
from fleetgym.envs.vm_rescheduling.simulator import VMReschedulingSimulator

Int64 = NDArray[np.int64]
SELECTION = 1  # migrations between selections: the best of 1, 2 and 5 on validation workloads


class Rollout(NamedTuple):
    """The best plan of K, and what it is worth."""

    moves: list[tuple[int, int]]  # VM and target slot, in order
    objective: float  # in the end


def rollouts(
    network: FleetNet,
    simulator: VMReschedulingSimulator,
    temperature: float,
    greedy: bool,
    selection: int = 0,
) -> Rollout:
    """Plays K copies of one world to their end and returns the best prefix of the best.

    Args:
        network: chooses.
        simulator: K worlds in the same state, which are used up.
        temperature: of the draws.
        greedy: the first world takes the most probable choice always.
        selection: every so many migrations the better half of the worlds takes the place of the
            other (0: never), as in a particle filter.
    """
    k, v = simulator.num_worlds, simulator.sizes.vms
    first = torch.arange(k) == 0
    moves = np.full((k, int(simulator.state().moves_left.max(initial=0)), 2), -1)
    best = Rollout([], float(simulator.objective()[0]))

    def choose(logits: Tensor, legal: Tensor) -> Tensor:
        drawn = sample(logits / temperature, legal)
        likely = logits.masked_fill(~legal, CLOSED).argmax(1)
        return torch.where(first, likely, drawn) if greedy else drawn

    with torch.inference_mode():
        obs = observe(simulator)
        encoding = _encode_once(network, simulator)
        for step in range(moves.shape[1]):
            fleet = network.summary(encoding, obs.progress)
            legal = torch.from_numpy(open_mask(simulator)[:, : v + 1])
            vm = choose(network.score_vms(encoding, fleet), legal)
            advance(simulator, vm.numpy())
            moving = simulator.state().chosen >= 0
            if not moving.any():
                break
            picked = torch.where(torch.from_numpy(moving), vm, 0)
            legal = torch.from_numpy(open_mask(simulator)[:, v + 1 :])
            slot = choose(network.score_slots(encoding, fleet, obs, picked), legal).numpy()
            source = obs.host[torch.arange(k), picked].numpy()
            advance(simulator, np.where(moving, slot + v + 1, v))
            moves[moving, step, 0], moves[moving, step, 1] = vm.numpy()[moving], slot[moving]
            objective = np.where(moving, simulator.objective(), np.inf)
            world = int(objective.argmin())
            if objective[world] < best.objective - 1e-12:
                plan = [(int(a), int(b)) for a, b in moves[world, : step + 1]]
                best = Rollout(plan, float(objective[world]))
            obs = observe(simulator)
            target = np.where(moving, slot // 2, source)
            changed = torch.from_numpy(np.stack((source, target), 1))
            network.update(encoding, obs, changed.clamp(min=0))
            if selection and step % selection == selection - 1 and k > 1:
                order = np.argsort(simulator.objective(), kind="stable")
                better, worse = order[: k // 2], order[k - k // 2 :]
                simulator.copy(better, worse)
                moves[worse] = moves[better]
                for part in (*encoding, *obs):
                    part[torch.from_numpy(worse)] = part[torch.from_numpy(better)]
    return best


def _encode_once(network: FleetNet, simulator: VMReschedulingSimulator) -> Encoding:
    """All worlds are alike at the start: one is encoded, and copied."""
    obs = observe(simulator)
    one = network.encode(type(obs)(*(part[:1] for part in obs)))
    return Encoding(*(part.expand(simulator.num_worlds, *part.shape[1:]).clone() for part in one))


class NetworkPolicy(PlanCarrier):
    """Plans by the best of K rollouts of a network in imagination, the better half selected.

    Args:
        name: of the policy.
        network: chooses.
        k: rollouts side by side.
        seconds: budget; 0: one round of K, else as many rounds as fit in it.
        temperature: of the draws; the first rollout takes the most probable choices.
        seed: of the draws.
    """

    def __init__(
        self,
        name: str,
        network: FleetNet,
        *,
        k: int = 16,
        seconds: float = 0.0,
        temperature: float = 0.6,
        seed: int = 0,
    ) -> None:
        super().__init__(name)
        self._network, self._k, self._seed = network, k, seed
        self._budget, self._temperature = seconds, temperature

    def _plan(self, view: View, world: int) -> list[tuple[int, int]]:
        torch.manual_seed(self._seed)
        began = time.perf_counter()
        best, longest = Rollout([], np.inf), 0.0
        greedy = True
        while True:
            started = time.perf_counter()
            imagined = view.imagine(world, self._k, action="two-phase")
            assert isinstance(imagined, VMReschedulingSimulator)
            found = rollouts(self._network, imagined, self._temperature, greedy, SELECTION)
            best = min(best, found, key=lambda rollout: rollout.objective)
            longest = max(longest, time.perf_counter() - started)
            greedy = False
            if time.perf_counter() - began + 1.1 * longest > self._budget:
                return best.moves
