"""Several instances and a router: one agent or many play the same machine."""

import warnings

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test
from tests.envs.request_preemption.machine import FAMILY, act, drawn, mask_of

import fleetgym
from fleetgym.envs.request_preemption.layout import Actions
from fleetgym.envs.request_preemption.simulator import INSTANCE, ROUTER
from fleetgym.envs.request_preemption.types import DISPATCH, FOCUS, KIND, REBALANCE


@pytest.mark.parametrize("scenario", ["cluster-4", "cluster-16"])
def test_pettingzoo_contract(scenario):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(fleetgym.parallel_env(FAMILY.id, scenario=scenario), num_cycles=60)


def test_one_instance_has_no_router():
    env = fleetgym.parallel_env(FAMILY.id, scenario="small")
    assert env.possible_agents == ["instance_0"]


def test_many_agents_play_the_machine_of_one():
    """Each action is given by the agent that is asked; everybody else does nothing."""
    fields = {"requests": 60, "slots": 8, "rebalance_s": 0.2, "kv_blocks": 300}
    one = drawn("cluster-4", **fields)
    many = drawn("cluster-4", control="distributed", **fields)
    first, rng, kinds = Actions.of(one.scenario).instance, np.random.default_rng(0), set()
    for _ in range(400):
        legal = np.flatnonzero(mask_of(one)[0])
        chosen = int(rng.choice(legal))
        kind, focus = (int(many.state().scalars[0, field]) for field in (KIND, FOCUS))
        routed = kind in (DISPATCH, REBALANCE)
        masks = many.action_mask()
        given = {role: np.zeros(masks[role].shape[:2], np.int64) for role in (ROUTER, INSTANCE)}
        if routed:
            given[ROUTER][0, 0] = chosen - first + 1 if chosen else 0
            open_ = [a + first - 1 if a else 0 for a in np.flatnonzero(masks[ROUTER][0, 0])]
        else:
            given[INSTANCE][0, focus] = chosen
            open_ = np.flatnonzero(masks[INSTANCE][0, focus]).tolist()
        assert open_ == legal.tolist()
        idle = [masks[INSTANCE][0, i] for i in range(4) if routed or i != focus]
        assert all(np.flatnonzero(mask).tolist() == [0] for mask in idle)
        alone = act(one, [chosen])
        team = many.step(given)
        assert (team.reward == alone.reward[0, 0]).all()
        assert many.digest()[0] == one.digest()[0]
        kinds.add(kind)
    assert len(kinds) == 3


def test_whoever_is_not_asked_may_only_pass():
    many = drawn("cluster-4", control="distributed")
    given = {ROUTER: np.zeros((1, 1), np.int64), INSTANCE: np.zeros((1, 4), np.int64)}
    given[ROUTER][0, 0] = 1 + np.flatnonzero(many.action_mask()[ROUTER][0, 0, 1:])[0]
    given[INSTANCE][0, 2] = 1
    result = many.step(given)
    assert result.status.tolist() == [[0, 0, 0, 1, 0]], "the router's dispatch counts all the same"
    assert many.metrics()["illegal_actions"][0] == 1
    assert many.metrics()["accepted"][0] >= 1
