"""The cache agent: what it looks at, what it is taught, how it learns on, and what is shipped."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fleetgym.agents.cache_features import CANDIDATE, ROUTING, Watcher, state_of
from fleetgym.agents.caching import CacheAgent
from fleetgym.agents.forecasting import TAIL, Lesson, forecast_loss, lesson_of
from fleetgym.agents.networks.cache import CacheNet, CacheTables
from fleetgym.agents.sb3.watched import WatchedVecEnv
from fleetgym.agents.shipped import PRETRAINED, shipped
from fleetgym.agents.weights import load_network, load_weights
from fleetgym.baselines.policy import make_baseline
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View, as_actions
from fleetgym.envs.expert_cache import types as t
from fleetgym.envs.expert_cache.types import PROGRESS
from fleetgym.scripts.train import train

FAMILY = family_of("expert-cache")
CONFIG = """
name = "tiny"
id = "ExpertCache"
width = 8

[[forecasting]]
series = 3
courses = [{ scenario = "small" }, { scenario = "small", overrides = { locality = "low" } }]

[[forecasting]]
series = 2
courses = [{ scenario = "small" }]

[[ppo]]
rollout_steps = 8
total_steps = 192
batch_size = 32
epochs = 1
horizon_s = 4.0
critic_rollouts = 1
measure = "hit_rate"

[[ppo.batches]]
scenario = "small"
overrides = { tokens = 2 }
worlds = 2

[[ppo.batches]]
scenario = "small"
overrides = { tokens = 2, locality = "low" }
worlds = 2
"""


class KilledError(Exception):
    pass


def _quiet(what, done, total):
    pass


def _simulator(worlds=3, draw=lambda source, seed: source.draw(seed), **fields):
    scenario = FAMILY.scenario("small", fields)
    source = FAMILY.workloads(scenario)
    made = FAMILY.simulate(scenario, source, worlds)
    made.reset([draw(source, seed) for seed in range(worlds)])
    return made


def _tables(b=4, slots=5, seed=0):
    rng = torch.Generator().manual_seed(seed)
    candidates = torch.randn((b, slots + 1, len(CANDIDATE)), generator=rng)
    routing, progress = (
        torch.rand((b, len(names)), generator=rng) for names in (ROUTING, PROGRESS)
    )
    return CacheTables(candidates, routing, progress, torch.ones(b, 1 + slots))


def test_slots_in_another_order_are_scored_alike():
    torch.manual_seed(0)
    network, seen = CacheNet(8), _tables()
    torch.nn.init.normal_(network.price_out.weight)
    order = torch.tensor([3, 0, 4, 1, 2])
    turned = seen._replace(
        candidates=torch.cat((seen.candidates[:, :-1][:, order], seen.candidates[:, -1:]), 1)
    )
    logits, values = network(seen)
    other, as_before = network(turned)
    torch.testing.assert_close(other[:, 1:], logits[:, 1:][:, order])
    torch.testing.assert_close(other[:, 0], logits[:, 0])
    torch.testing.assert_close(as_before, values)


def test_the_worst_tenant_goes_and_a_worse_newcomer_stays_out():
    network, seen = CacheNet(8), _tables(b=64)
    worth = network.worth(seen.candidates, seen.routing)
    free = network(seen, priced=False)[0].argmax(1)
    due = torch.where(worth[:, -1] <= worth[:, :-1].amin(1), 0, 1 + worth[:, :-1].argmin(1))
    assert torch.equal(free, due)
    torch.nn.init.constant_(network.price_out.bias, 100.0)
    assert (network(seen)[0].argmax(1) == 0).all(), "whatever it is worth, at such a price"


def test_tables_show_the_candidates_of_the_miss():
    simulator = _simulator()
    view, watcher = View(simulator), Watcher()
    state, everyone = state_of(view), np.arange(3)
    watcher.begin(state, everyone)
    policy = make_baseline(FAMILY, "lru")
    policy.reset(view, everyone)
    for _ in range(40):
        tables = watcher.look(state, everyone)
        for b in range(3):
            s = state.scalars[b]
            layer, table = s[t.LAYER], state.table[b, s[t.LAYER]]
            missed = state.request[b, t.ASKED, s[t.AT]]
            who = [*state.tenants[b, layer, t.EXPERT], missed]
            recency, count = CANDIDATE.index("recency"), CANDIDATE.index("count")
            steps = s[t.STEP] + 1
            np.testing.assert_allclose(
                tables.candidates[b, :, recency], 1 / (steps - table[t.LAST, who]), rtol=1e-5
            )
            np.testing.assert_allclose(
                tables.candidates[b, :, count], table[t.COUNT, who] / steps, rtol=1e-5
            )
            logs = state.history[b, s[t.EVENT]] * (t.LOG_RANGE / t.UNIT)
            now = tables.candidates[b, :, CANDIDATE.index("now")] * 4
            np.testing.assert_allclose(now, logs[who] - logs.mean(), atol=1e-4)
            active = tables.routing[b, ROUTING.index("active")]
            assert active == pytest.approx(s[t.LENGTH] / table.shape[1])
        simulator.step(as_actions(view, policy.act(view)))


def test_targets_are_the_discounted_uses_to_come():
    scenario = FAMILY.scenario("small", {})
    routing, d = FAMILY.workloads(scenario).draw(5).routing, 0.5
    lesson = lesson_of(routing, 16, d)
    steps, layers, _ = routing.experts.shape
    taught = len(lesson.target) // layers
    assert TAIL >= d ** (steps - 16 - taught) > TAIL * d
    for step, layer in ((16, 0), (20, 3), (16 + taught - 1, 2)):
        due = np.zeros(routing.num_experts)
        for later in range(step + 1, steps):
            due[routing.experts[later, layer]] += (1 - d) * d ** (later - step - 1)
        row = (step - 16) * layers + layer
        np.testing.assert_allclose(lesson.target[row], due, atol=1e-6)


def test_lessons_show_what_the_agent_sees():
    simulator = _simulator(1)
    view, watcher = View(simulator), Watcher()
    state, one = state_of(view), np.arange(1)
    watcher.begin(state, one)
    lesson = lesson_of(simulator.workloads[0].routing, 0, 0.5)
    policy = make_baseline(FAMILY, "lru")
    policy.reset(view, one)
    for _ in range(60):
        tables = watcher.look(state, one)
        s = state.scalars[0]
        who = [*state.tenants[0, s[t.LAYER], t.EXPERT], state.request[0, t.ASKED, s[t.AT]]]
        event = int(s[t.EVENT])
        assert np.array_equal(tables.candidates[0], lesson.candidates[event][who].numpy())
        assert np.array_equal(tables.routing[0], lesson.routing[event].numpy())
        simulator.step(as_actions(view, policy.act(view)))


def test_learning_lowers_the_loss():
    torch.manual_seed(0)
    network = CacheNet(8)
    routing = FAMILY.workloads(FAMILY.scenario("small", {})).draw(1).routing
    lesson = lesson_of(routing, 16, 0.7)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for step in range(60):
        loss = forecast_loss(network, lesson, 1 + step % 15)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-15:]) < 0.75 * np.mean(losses[:15])


def test_the_right_order_costs_less_than_the_wrong_one():
    network = CacheNet(8)
    network.worth = lambda candidates, routing: candidates[..., 0]
    target = torch.tensor([[0.0, 0.2, 0.7]])
    losses = []
    for worth in ([-3.0, 0.0, 3.0], [3.0, 0.0, -3.0]):
        candidates = torch.tensor(worth)[None, :, None]
        losses.append(float(forecast_loss(network, Lesson(candidates, target[:, :1], target), 1)))
    assert losses[0] < 0.1 * losses[1]


@pytest.mark.parametrize("phase", ["forecasting 1", "PPO 0"])
def test_a_killed_run_goes_on_to_the_same_weights(phase, tmp_path, monkeypatch):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    whole = load_weights(train(path, tmp_path / "whole", resume=False, report=_quiet))
    told = []

    def kill(what, done, total):
        told.append(what)
        if phase in what and done > 0:
            raise KilledError

    # Short phases report nothing by themselves.
    monkeypatch.setattr("fleetgym.agents.forecasting.REPORTED", 1)
    with pytest.raises(KilledError):
        train(path, tmp_path / "killed", resume=False, report=kill)
    assert any("forecasting 0" in what for what in told)
    resumed = load_weights(train(path, tmp_path / "killed", resume=True, report=_quiet))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_ppo_moves_the_price_and_not_the_worth(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    after = load_weights(train(path, tmp_path / "run", resume=False, report=_quiet)).state_dict()
    path.write_text(CONFIG.replace("total_steps = 192", "total_steps = 0"))
    before = load_weights(train(path, tmp_path / "none", resume=False, report=_quiet)).state_dict()
    moved = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert moved == {"price", "price_out", "value", "sharpness"}


def test_the_vec_env_shows_what_a_fresh_watcher_sees():
    env = WatchedVecEnv(
        FAMILY.load(FAMILY.vector_env)(3, "small", autoreset_mode="SameStep", tokens=2)
    )
    env.seed(3)
    seen, rng, ended = env.reset(), np.random.default_rng(0), 0
    for _ in range(120):
        assert set(seen) == set(env.observation_space.spaces)
        state, fresh = env.env.simulator.state(), Watcher()
        fresh.begin(state, np.arange(3))
        tables = fresh.look(state, np.arange(3))
        assert np.array_equal(seen["candidates"], tables.candidates)
        assert np.array_equal(seen["routing"], tables.routing)
        clock = env.now()
        actions = np.array([rng.choice(np.flatnonzero(row)) for row in env.action_masks()])
        seen, _, done, infos = env.step(actions)
        assert (env.now() >= clock)[~done].all()
        for i in np.flatnonzero(done):
            ended += 1
            assert env.observation_space.contains(infos[i]["terminal_observation"])
    assert ended >= 3


def _planted(source, seed):
    drawn = source.draw(seed)
    experts, scores = drawn.routing.experts.copy(), drawn.routing.scores.copy()
    experts[24:], scores[24:] = experts[24:][::-1], scores[24:][::-1]
    return replace(drawn, routing=replace(drawn.routing, experts=experts, scores=scores))


def _played(simulator, policy, until=None):
    view = View(simulator)
    policy.reset(view, np.arange(simulator.num_worlds))
    actions = []
    while not simulator.over().all() and (
        until is None or simulator.state().scalars[0, t.STEP] < until
    ):
        actions.append(as_actions(view, policy.act(view)))
        simulator.step(actions[-1], ~simulator.over())
    return actions


def _agent(seed=0, **options):
    torch.manual_seed(seed)
    return CacheAgent("agent", CacheNet(8), **options)


def test_a_planted_future_changes_nothing_before_it():
    seen = [
        [one["cache"].tolist() for one in _played(_simulator(1, draw), _agent(), until=24)]
        for draw in (lambda source, seed: source.draw(seed), _planted)
    ]
    assert seen[0] == seen[1]
    assert len(seen[0]) > 10


def test_an_agent_may_be_used_again_and_plays_other_scenarios():
    agent = _agent()
    first = _simulator()
    _played(first, agent)
    digest = first.digest().tolist()
    other = _simulator(2, num_experts=8, num_layers=2, capacity=0.5, prefetch=1, batch=2)
    _played(other, agent)
    assert other.metrics()["prefetches"].sum() == 0
    again = _simulator()
    _played(again, agent)
    assert again.digest().tolist() == digest


def test_worlds_that_begin_anew_are_followed_anew():
    agent, simulator = _agent(), _simulator(2)
    _played(simulator, agent)
    view, source = View(simulator), FAMILY.workloads(simulator.scenario)
    simulator.reset([source.draw(9)], [1])
    agent.reset(view, np.array([1]))
    while not simulator.over().all():
        simulator.step(as_actions(view, agent.act(view)), ~simulator.over())
    alone = _simulator(1, lambda source, seed: source.draw(9))
    _played(alone, _agent())
    assert simulator.digest()[1] == alone.digest()[0]


def test_the_shipped_network_is_small():
    weights = PRETRAINED / "expert-cache.safetensors"
    assert weights.stat().st_size + weights.with_suffix(".json").stat().st_size < 1_000_000
    assert load_network(weights, CacheNet).width == 48


@pytest.mark.parametrize("locality", ["low", "medium"])
def test_the_shipped_agent_has_more_hits_than_the_tuned_rule(locality):
    rates = {}
    for policy in (shipped(FAMILY)["agent"].make(1.0, 0), make_baseline(FAMILY, "tuned")):
        scenario = FAMILY.scenario("dsv2-lite", {"locality": locality, "split": "test"})
        source = FAMILY.workloads(scenario)
        simulator = FAMILY.simulate(scenario, source, 8)
        simulator.reset([source.draw(1000 + seed) for seed in range(8)])
        _played(simulator, policy)
        rates[policy.name] = simulator.metrics()["hit_rate"]
    assert rates["agent"].mean() > rates["tuned"].mean()
