"""The serving agent: its network, cloning, discounting in time, training, and shipped weights."""

import numpy as np
import pytest
import torch

import fleetgym
from fleetgym.agents.cloning import cloning_loss, lessons, together
from fleetgym.agents.networks.fleet import FleetNet
from fleetgym.agents.networks.requests import RequestNet, RequestTables
from fleetgym.agents.sb3.timed_buffer import TimedRolloutBuffer
from fleetgym.agents.serving import RequestAgent
from fleetgym.agents.shipped import PRETRAINED, shipped
from fleetgym.agents.weights import load_network, load_weights
from fleetgym.baselines.policy import make_baseline
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.registration import family_of
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

[[cloning]]
scenario = "burst"
overrides = { requests = 20, slots = 24 }
worlds = 4
steps = 40
every = 4

[[ppo]]
scenario = "burst"
overrides = { requests = 20, slots = 24 }
worlds = 4
rollout_steps = 32
fresh = 4
total_steps = 1024
batch_size = 32
epochs = 1
horizon_s = 10.0
measure = "slo_attainment"
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
    )


def _quiet(what, done, total):
    pass


def test_empty_slots_change_nothing():
    torch.manual_seed(0)
    network, small = RequestNet(16), _tables(3, 12)
    large = small._replace(requests=torch.nn.functional.pad(small.requests, (0, 0, 0, 40)))
    logits, values = network(small)
    more, same = network(large)
    assert logits.shape == (3, MODES + 12)
    assert more.shape == (3, MODES + 52)
    assert torch.allclose(logits[:, : MODES + 6], more[:, : MODES + 6], atol=1e-5)
    assert torch.allclose(values, same, atol=1e-5)


def test_scores_follow_the_requests():
    torch.manual_seed(0)
    network, tables = RequestNet(16), _tables(2, 12)
    order = torch.cat((torch.randperm(6), torch.arange(6, 12)))
    turned, values = network(tables._replace(requests=tables.requests[:, order]))
    logits, before = network(tables)
    assert torch.allclose(logits[:, MODES:][:, order], turned[:, MODES:], atol=1e-5)
    assert torch.allclose(before, values, atol=1e-5)
    assert logits[:, MODES : MODES + 6].std() > 0


def test_an_idle_instance_is_finite():
    empty = RequestTables(*(torch.zeros_like(part) for part in _tables(1, 4)))
    logits, values = RequestNet(8)(empty)
    assert torch.isfinite(logits).all()
    assert torch.isfinite(values).all()


def _lessons(steps):
    scenario = FAMILY.scenario("burst", {"requests": 40, "slots": 48})
    source = FAMILY.workloads(scenario)
    simulator = FAMILY.simulate(scenario, source, 8)
    expert = make_baseline(FAMILY, "sjf-full-fit")
    return list(lessons(simulator, source, expert, steps, np.random.default_rng(0)))


def test_cloning_lowers_the_loss():
    torch.manual_seed(0)
    batch, network = together(_lessons(60)), RequestNet(16)
    assert batch.legal.gather(1, batch.action.unsqueeze(1)).all()  # rules act legally
    assert (batch.legal.sum(1) > 1).all()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = cloning_loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


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

    for event, at in (("cloning", 20), ("PPO", 700)):
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
    agent = RequestAgent("agent", load_network(SHIPPED, RequestNet))
    met = {}
    for policy in (agent, "random"):
        records = fleetgym.evaluate(
            policy, "request-preemption", "burst", [0, 1], requests=60, split="test"
        )
        met[policy] = np.mean([record.metrics["slo_attainment"] for record in records])
    assert met[agent] > met["random"] + 0.2


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
