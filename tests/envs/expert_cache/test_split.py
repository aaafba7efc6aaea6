"""The fixed split over GPU and CPU against the best one, found by trying all."""

import math
from itertools import product

import numpy as np
import pytest
from tests.envs.expert_cache.test_oracle import random_workload
from tests.oracles.expert_cache import OracleWorld

from fleetgym.envs.core.registration import family_of


class Compared(OracleWorld):
    """Notes the makespan of each event beside the best possible."""

    def settle(self):
        best, before = self.best(), self.sums["makespan"]
        super().settle()
        self.__dict__.setdefault("ratios", []).append((self.sums["makespan"] - before, best))

    def best(self):
        """Over all assignments; on the GPU what is ready first goes first, which is optimal."""
        places = [self.place(self.layer, e) for e in self.asked]
        ready = [
            None if j is None else max(self.clock, self.pool[self.layer][j].ready) for j in places
        ]
        found = math.inf
        for lanes in product("gc", repeat=len(ready)):
            cpu, queue, releases = self.clock, max(self.pcie, self.clock), []
            for k, lane in enumerate(lanes):
                if lane == "c":
                    cpu += self.compute_time("cpu", self.tokens[k])
                elif ready[k] is None:
                    queue += self.costs.move
                    releases.append(queue)
                else:
                    releases.append(ready[k])
            gpu = self.clock
            for release in sorted(releases):  # GPU time does not depend on the expert here
                gpu = max(gpu, release) + self.compute_time("gpu", 1)
            found = min(found, max(gpu, cpu) - self.clock)
        return found


def ratios(cost, admit):
    """Greedy and best makespans of random events."""
    rng, found = np.random.default_rng(0), []
    fields = {"num_experts": 8, "top_k": 1, "cost": cost, "capacity": 0.5}
    scenario = family_of("expert-cache").scenario("small", fields)
    for _ in range(6):
        world = Compared(random_workload(rng, 20, 2, 8, 6, True), scenario, 8, 6)
        while world.stage != "over":
            choices = np.flatnonzero(world.mask())
            world.step(int(rng.choice(choices)) if admit else 0)
        found += world.ratios
    return np.array(found, float)


@pytest.mark.parametrize("admit", [False, True])
@pytest.mark.parametrize("cost", ["hybrimoe", "hybrimoe-fast-cpu", "hybrimoe-affine-cpu"])
def test_the_greedy_split_is_near_the_best(cost, admit):
    greedy, best = ratios(cost, admit).T
    assert (greedy >= best).all()
    assert greedy.sum() / best.sum() < 1.07
    assert (greedy == best).mean() > 0.3
