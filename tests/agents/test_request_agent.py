"""The serving agent: its network, its rules, what they gain, training, and shipped weights."""

import numpy as np
import pytest
import torch

import fleetgym
from fleetgym.agents.advisors import ADVISORS, COSTS, Advisors
from fleetgym.agents.config import Batch, Lookahead, TrainConfig
from fleetgym.agents.lookahead import Trial, gain_loss, lessons_of
from fleetgym.agents.networks.fleet import FleetNet
from fleetgym.agents.networks.requests import RequestNet, RequestTables
from fleetgym.agents.sb3.timed_buffer import TimedRolloutBuffer
from fleetgym.agents.serving import RequestAgent
from fleetgym.agents.shipped import PRETRAINED, shipped
from fleetgym.agents.weights import load_network, load_weights
from fleetgym.baselines.policy import make_baseline
from fleetgym.baselines.request_preemption.standing import standing
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View, as_actions
from fleetgym.envs.request_preemption.observe import (
    INSTANCE_FEATURES,
    REQUEST_FEATURES,
    WORLD_FEATURES,
)
from fleetgym.envs.request_preemption.types import MODES
from fleetgym.scripts.train import train

FAMILY = family_of("request-preemption")
SHIPPED = PRETRAINED / "request-preemption.safetensors"
CONFIG = """
name = "tiny"
id = "RequestPreemption"
width = 8

[[lookahead]]
steps = 60
hold_s = 0.5
horizon_s = 2.0
batch_size = 16
updates = 1

[[lookahead.batches]]
scenario = "burst"
overrides = { requests = 20, slots = 24 }
worlds = 2

[[ppo]]
rollout_steps = 32
fresh = 4
critic_rollouts = 2
total_steps = 1536
batch_size = 32
epochs = 1
horizon_s = 10.0
measure = "slo_attainment"

[[ppo.batches]]
scenario = "burst"
overrides = { requests = 20, slots = 24 }
worlds = 4

[[ppo.batches]]
scenario = "priority"
overrides = { requests = 20, slots = 24 }
worlds = 2
"""


class KilledError(Exception):
    pass


def _tables(b, n, seed=0):
    """Requests in the first half of the slots: two run, the others wait."""
    rng = np.random.default_rng(seed)
    requests = np.zeros((b, n, len(REQUEST_FEATURES)), np.float32)
    requests[:, : n // 2] = rng.random((b, n // 2, len(REQUEST_FEATURES)))
    requests[:, : n // 2, :5] = (1, 0, 1, 0, 0)
    requests[:, :2, :5] = (1, 1, 0, 0, 0)
    instance, world = rng.random((b, len(INSTANCE_FEATURES))), rng.random((b, len(WORLD_FEATURES)))
    return RequestTables(
        torch.from_numpy(requests),
        torch.from_numpy(instance.astype(np.float32)),
        torch.from_numpy(world.astype(np.float32)),
        torch.from_numpy(rng.integers(0, MODES + n // 2, (b, ADVISORS))),
        torch.from_numpy(rng.random((b, COSTS)).astype(np.float32)),
    )


def _quiet(what, done, total):
    pass


def test_empty_slots_change_nothing():
    torch.manual_seed(0)
    network, small = RequestNet(16), _tables(3, 12)
    large = small._replace(requests=torch.nn.functional.pad(small.requests, (0, 0, 0, 40)))
    assert torch.allclose(network.gains(small), network.gains(large), atol=1e-5)
    logits, values = network(small)
    more, same = network(large)
    assert logits.shape == (3, MODES + 12)
    assert more.shape == (3, MODES + 52)
    assert torch.allclose(logits, more[:, : MODES + 12], atol=1e-5)
    assert torch.allclose(values, same, atol=1e-5)


def test_the_order_of_requests_does_not_matter():
    torch.manual_seed(0)
    network, tables = RequestNet(16), _tables(2, 12)
    order = torch.cat((torch.randperm(6), torch.arange(6, 12)))
    turned = tables._replace(requests=tables.requests[:, order])
    assert torch.allclose(network.gains(tables), network.gains(turned), atol=1e-5)


def test_an_action_is_as_likely_as_the_rules_that_advise_it():
    torch.manual_seed(0)
    network, tables = RequestNet(16), _tables(4, 12)
    tables.advice[:, 1:] = tables.advice[:, :1]
    likely = network.logits(tables).softmax(1)
    assert torch.allclose(likely.gather(1, tables.advice[:, :1]), torch.ones(4, 1))
    tables.advice[:, 0] = MODES + 7
    shares = (network.gains(tables) / network.log_temperature.exp()).softmax(1)
    found = network.logits(tables).softmax(1)[:, MODES + 7]
    assert torch.allclose(found, shares[:, 0], atol=1e-5)


def test_an_idle_instance_is_finite():
    empty = RequestTables(*(torch.zeros_like(part) for part in _tables(1, 4)))
    logits, values = RequestNet(8)(empty)
    assert torch.isfinite(logits).all()
    assert torch.isfinite(values).all()


class Reluctant(RequestNet):
    """Sees no gain anywhere."""

    def gains(self, seen):
        return super().gains(seen) * 0.0 - torch.arange(ADVISORS) * 1e-3


@pytest.mark.parametrize("scenario", ["burst", "priority"])
def test_where_nothing_is_gained_the_first_rule_plays(scenario):
    rule = make_baseline(FAMILY, "paced")
    agent = RequestAgent("agent", Reluctant(8))
    played = [
        fleetgym.evaluate(policy, "request-preemption", scenario, [0], requests=60)[0]
        for policy in (rule, agent)
    ]
    assert played[0].metrics == played[1].metrics


def _trial(**fields):
    batch = Batch("burst", {"requests": 30, "slots": 32}, 3)
    lookahead = Lookahead((batch,), **fields)
    config = TrainConfig("tiny", "RequestPreemption", lookahead=(lookahead,))
    return Trial(config, batch, lookahead, np.random.default_rng(0))


def test_gains_are_what_a_rule_brings_beyond_the_first():
    trial = _trial(hold_s=1.0, horizon_s=4.0)
    for step in range(12):
        simulator, worlds = trial.simulator, trial.worlds
        before = [simulator.save(int(world)) for world in worlds]
        gains = trial.gains()
        assert [simulator.save(int(world)) for world in worlds] == before
        assert (gains[:, 0] == 0).all()
        expected = _gain_by_hand(trial, world=1, rule=step % ADVISORS)
        assert gains[1, step % ADVISORS] == pytest.approx(expected)
        trial.go_on(np.array([0, step % ADVISORS, 4]))


def _gain_by_hand(trial, world, rule):
    """One copy plays the rule, one the first, step by step."""
    found = []
    for first in (0, rule):
        alone = trial.simulator.fork(world, 1)
        view, advisors = View(alone), Advisors()
        advisors.reset(view, np.zeros(1, np.int64))
        begun = alone.now()[0]
        for which, until in ((first, begun + 10**9), (0, begun + 4 * 10**9)):
            while alone.now()[0] < until and not alone.over()[0]:
                alone.step(as_actions(view, advisors.rules[which].act(view)))
        found.append(standing(alone, advisors.rules[0].parameters)[0])
    return found[1] - found[0]


def test_learning_lowers_the_loss_of_gains():
    torch.manual_seed(0)
    trial, network, kept = _trial(horizon_s=4.0), RequestNet(16), []
    for _ in range(20):
        kept += lessons_of(trial.look(), trial.gains())
        trial.go_on(np.zeros(3, np.int64))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(80):
        loss = gain_loss(network, kept)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_only_the_critic_learns_at_first(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG.replace("total_steps = 1536", "total_steps = 384"))
    trained = load_weights(train(path, tmp_path / "run", resume=False, report=_quiet))
    path.write_text(CONFIG.replace("total_steps = 1536", "total_steps = 0"))
    fresh = load_weights(train(path, tmp_path / "none", resume=False, report=_quiet)).state_dict()
    same = {n: torch.equal(value, fresh[n]) for n, value in trained.state_dict().items()}
    assert same == {n: not n.startswith(("critic.", "value.")) for n in fresh}


def test_discounts_follow_the_clock():
    scenario = FAMILY.scenario("burst", {"requests": 4, "slots": 4})
    role = FAMILY.simulate(scenario, FAMILY.workloads(scenario), 1).roles["scheduler"]
    now = np.zeros(1, np.int64)
    buffer = TimedRolloutBuffer(
        3,
        role.observation_space,
        role.action_space,
        "cpu",
        gae_lambda=1.0,
        n_envs=1,
        clock=lambda: now,
        horizon_s=2.0,
    )
    buffer.reset()
    seen = {name: space.sample()[None] for name, space in role.observation_space.spaces.items()}
    for elapsed, reward in ((0, 1.0), (2, 10.0), (0, 100.0)):
        now[0] += elapsed * 10**9
        zero = torch.zeros(1)
        buffer.add(seen, np.zeros((1, 1)), np.array([reward]), np.zeros(1), zero, zero)
    buffer.compute_returns_and_advantage(torch.full((1,), 1000.0), np.zeros(1, np.bool_))
    later = np.exp(-1.0)  # two seconds of two pass between the second action and the third
    expected = [1 + 10 + later * 1100, 10 + later * 1100, 1100]
    assert buffer.returns[:, 0] == pytest.approx(expected, rel=1e-5)
    buffer.compute_returns_and_advantage(torch.full((1,), 1000.0), np.ones(1, np.bool_))
    assert buffer.returns[2, 0] == pytest.approx(100.0)  # nothing follows an end


def test_resumed_run_ends_in_the_same_weights(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    whole = load_weights(train(path, tmp_path / "whole", resume=False, report=_quiet))

    def kill(event, at):
        def report(what, done, total):
            if event in what and done >= at:
                raise KilledError

        return report

    for event, at in (("lookahead", 50), ("PPO", 1000)):
        with pytest.raises(KilledError):
            train(path, tmp_path / "cut", resume=True, report=kill(event, at))
    cut = load_weights(train(path, tmp_path / "cut", resume=True, report=_quiet))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, cut.state_dict()[name]), name


@pytest.mark.parametrize(
    ("scenario", "fields"),
    [("toy", {}), ("burst", {"requests": 60}), ("priority", {"requests": 60})],
)
def test_shipped_weights_play_legally(scenario, fields):
    agent = shipped(FAMILY)["agent"].make(1.0, 0)
    for record in fleetgym.evaluate(agent, "request-preemption", scenario, [0], **fields):
        assert record.metrics["illegal_actions"] == 0
        assert record.metrics["unfinished"] == 0
        assert fleetgym.replay(record) == record.metrics


def test_shipped_weights_meet_more_targets_than_chance():
    met = {}
    for policy in (shipped(FAMILY)["agent"].make(1.0, 0), "random"):
        records = fleetgym.evaluate(
            policy, "request-preemption", "burst", [0, 1], requests=60, split="test"
        )
        met[str(policy)] = np.mean([record.metrics["slo_attainment"] for record in records])
    assert max(met, key=met.get) != "random"
    assert max(met.values()) > met["random"] + 0.2


def test_weights_of_another_network_are_refused():
    with pytest.raises(PolicyError, match="RequestNet"):
        load_network(SHIPPED, FleetNet)


@pytest.mark.parametrize(
    ("scenario", "fields", "said"),
    [
        ("burst", {"action": "scores"}, "pointer"),
        ("agents", {}, "ttls_s"),
        ("cluster-4", {}, "instances"),
        ("burst", {"control": "distributed"}, "central"),
    ],
)
def test_agent_refuses_what_it_cannot_play(scenario, fields, said):
    agent = RequestAgent("agent", RequestNet(8))
    with pytest.raises(PolicyError, match=said):
        fleetgym.evaluate(agent, "request-preemption", scenario, [0], **fields)
