"""Online policies see nothing of what is to come; clairvoyant ones must declare themselves."""

from dataclasses import replace

import numpy as np
import pytest

from fleetgym.baselines.expert_cache.clairvoyant import ClairvoyantPolicy
from fleetgym.baselines.policy import baselines_of, make_baseline
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View, as_actions
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.expert_cache.types import STEP

FAMILY = family_of("expert-cache")
ONLINE = [n for n in baselines_of(FAMILY) if make_baseline(FAMILY, n).information == "online"]
CUT = 24  # steps, warm-up included, after which the planted future begins


def simulator(workload, **fields):
    scenario = FAMILY.scenario("small", fields)
    source = FAMILY.workloads(scenario)
    made = FAMILY.simulate(scenario, source, 1)
    drawn = source.draw(3)
    made.reset([drawn if workload is None else workload(drawn)])
    return made


def planted(drawn):
    """The same past, and another future."""
    experts, scores = drawn.routing.experts.copy(), drawn.routing.scores.copy()
    experts[CUT:], scores[CUT:] = experts[CUT:][::-1], scores[CUT:][::-1]
    return replace(drawn, routing=replace(drawn.routing, experts=experts, scores=scores))


def actions(name, made, steps):
    """What a policy does, with everything it was shown."""
    policy = make_baseline(FAMILY, name, seed=1)
    view = View(made, clairvoyant=policy.information == "clairvoyant")
    policy.reset(view, np.arange(1))
    seen = []
    for _ in range(steps):
        chosen = as_actions(view, policy.act(view))
        shown = [array.tobytes() for array in view.state()]
        shown += [array.tobytes() for array in view.observation()["cache"].values()]
        shown.append(repr(dict(view.metrics())))
        seen.append((chosen["cache"].tolist(), shown))
        made.step(chosen)
        if made.state().scalars[0, STEP] >= CUT:
            break
    return seen


@pytest.mark.parametrize("prefetch", [0, 1])
@pytest.mark.parametrize("name", ONLINE)
def test_a_planted_future_changes_nothing_before_it(name, prefetch):
    one, other = simulator(None, prefetch=prefetch), simulator(planted, prefetch=prefetch)
    seen = actions(name, one, 500)
    assert seen == actions(name, other, 500)
    assert len(seen) > 5


def test_the_planted_future_is_another():
    for name in ("min", "min-bypass"):
        one, other = (
            [chosen for chosen, _ in actions(name, simulator(how), 500)] for how in (None, planted)
        )
        assert one != other, name


@pytest.mark.parametrize("name", ["min", "min-bypass", "static-best"])
def test_foresight_has_to_be_declared(name):
    made = simulator(None)
    with pytest.raises(PolicyError, match="online"):
        ClairvoyantPolicy(name).reset(View(made), np.arange(1))
    made.workloads[0] = Workload("other", 0)
    with pytest.raises(PolicyError, match="'other' is no routing workload"):
        ClairvoyantPolicy(name).reset(View(made, clairvoyant=True), np.arange(1))


def test_weights_are_those_of_the_fit():
    from fleetgym.baselines.expert_cache import fitting
    from fleetgym.baselines.expert_cache.predictor import WEIGHTS

    assert np.round(fitting.fit(), 4).tolist() == pytest.approx(list(WEIGHTS), abs=2e-4)
