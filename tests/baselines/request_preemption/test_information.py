"""No online scheduler acts on what has not happened, nor on the outputs of what runs."""

import numpy as np
import pytest
from tests.baselines.request_preemption.made import Made
from tests.baselines.request_preemption.schedulers import SCHEDULERS, ready, simulator

from fleetgym.baselines.policy import make_baseline
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View, as_actions
from fleetgym.envs.request_preemption.simulator import SCHEDULER
from fleetgym.envs.request_preemption.types import CLOCK, PS

FAMILY = family_of("RequestPreemption")
ONLINE = [name for name in SCHEDULERS if make_baseline(FAMILY, name).information == "online"]
PART = 4.0  # seconds: until then both worlds are alike


def rows(seed):
    """A crowded present. From `PART` on one world has no arrivals, and answers that end sooner."""
    rng = np.random.default_rng(11)
    alike = [
        (at, int(rng.integers(40, 900)), int(rng.integers(600, 900)))
        for at in np.sort(rng.uniform(0, PART - 0.5, 24))
    ]
    if seed == 0:
        late = [(PART + 0.01 * n, 50, 20) for n in range(24)]
        return alike + late
    return [(at, p, o - 80) for at, p, o in alike]


def actions_until(name, seed):
    """Everything done before `PART`."""
    source = Made(rows(0), rows(1))
    fields = {"kv_blocks": 450, "priority_levels": 3, "priority_updates": 0.05}
    made = simulator("chat", (seed,), source, **fields)
    policy, view = ready(name, made)
    done = []
    while made.state().scalars[0, CLOCK] < PART * PS and not made.over()[0]:
        given = as_actions(view, policy.act(view))
        done.append((int(made.state().scalars[0, CLOCK]), int(given[SCHEDULER][0, 0])))
        made.step(given)
    return done


@pytest.mark.parametrize("name", ONLINE)
def test_the_same_until_the_worlds_part(name):
    one, other = actions_until(name, 0), actions_until(name, 1)
    assert len(one) > 10
    assert one == other


def test_the_worlds_do_part():
    """The clairvoyant one sees the outputs, so the worlds differ where it looks."""
    assert actions_until("srpt", 0) != actions_until("srpt", 1)


def test_only_the_clairvoyant_may_look():
    made = simulator("chat", (0,), requests=4)
    policy = make_baseline(FAMILY, "srpt")
    assert policy.information == "clairvoyant"
    with pytest.raises(PolicyError, match="online"):
        policy.reset(View(made), np.arange(1))
