"""The placement agent: forecasts, styles, what it is taught, how it learns, what is shipped."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import fleetgym
from fleetgym.agents.config import Batch
from fleetgym.agents.following import Follower, Twin
from fleetgym.agents.load_forecasts import lessons
from fleetgym.agents.networks.experts import ExpertNet, Forecast, forecast_loss, logs_of
from fleetgym.agents.placement import Hands, PlacementAgent, look, sampled
from fleetgym.agents.sb3.styled import StyledVecEnv
from fleetgym.agents.shipped import PRETRAINED, shipped
from fleetgym.agents.styles import STYLES
from fleetgym.agents.weights import load_network, load_weights
from fleetgym.baselines.expert_placement.sampled import BEST, normal_table
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View, as_actions
from fleetgym.scripts.train import train

FAMILY = family_of("expert-placement")
SHIPPED = PRETRAINED / "expert-placement.safetensors"
FIELDS = {"windows": 4, "layers": 2}
KINDS = """
[[loads]]
passes = 1
layers = 16
batches = [{{ scenario = "small", overrides = {{ windows = 4, layers = 2 }}, worlds = 4 }}]

[[{batches}]]
scenario = "small"
overrides = {{ windows = 3, layers = 2, regret = false }}
"""
CONFIG = """
name = "tiny"
id = "ExpertPlacement"
width = 8
validation = 2

[[ppo]]
rollout_steps = 3
fresh = 1
total_steps = 36
batch_size = 6
epochs = 1
measure = "relative_time"
""" + KINDS.format(batches="ppo.batches").replace("[[ppo.batches]]", "[[ppo.batches]]\nworlds = 2")
LAYERS = """
name = "tiny"
trainer = "rllib-layers"
id = "ExpertPlacement"
width = 8
validation = 2

[ppo]
worlds = 1
batch = 12
minibatch = 6
epochs = 1
iterations = 2
""" + KINDS.format(batches="batches")


class KilledError(Exception):
    pass


def _quiet(*what):
    pass


def _simulator(worlds=1, draw=lambda source, seed: source.draw(seed), **fields):
    scenario = FAMILY.scenario("small", {**FIELDS, **fields})
    source = FAMILY.workloads(scenario)
    made = FAMILY.simulate(scenario, source, worlds)
    made.reset([draw(source, seed) for seed in range(worlds)])
    return made


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ExpertNet(8).eval()


def test_log_loads_are_read_off_the_observation():
    simulator = _simulator()
    experts, layers, progress = look(View(simulator), 0)
    assert len(experts) == len(layers) == len(progress) == 2
    history = simulator.state().history[0].astype(np.float64)
    due = np.log(history[0] / history[0].mean(1, keepdims=True))
    found = logs_of(experts)[..., 0].numpy()
    assert found == pytest.approx(np.maximum(due, found.min()), abs=2e-3)


def test_samples_are_of_the_two_futures_and_add_up():
    normal = normal_table(16, 4)
    mean = torch.log(torch.tensor([[[4.0, 2, 1, 1], [1, 1, 2, 4]]]))
    logit = torch.log(torch.tensor([[0.75, 0.25]]))
    forecast = Forecast(mean, torch.full((1, 2, 4), -20.0), logit)
    history = np.full((3, 1, 4), 200, np.int32)
    loads = sampled(forecast, normal, history)
    assert loads.shape == (16, 1, 4)
    assert loads.sum(2) == pytest.approx(800.0)
    assert loads[:12, 0] == pytest.approx(np.tile([400.0, 200, 100, 100], (12, 1)), rel=1e-6)
    assert loads[12:, 0] == pytest.approx(np.tile([100.0, 100, 200, 400], (4, 1)), rel=1e-6)


def test_lessons_are_what_was_seen_before_a_window_and_what_came():
    batch = Batch("small", {"windows": 3, "layers": 2}, 2)
    seen, came = lessons("ExpertPlacement", batch, 5)
    assert seen.shape[:2] == came.shape == (12, 32)
    scenario = FAMILY.scenario("small", {"windows": 3, "layers": 2, "split": "train"})
    loads = FAMILY.workloads(scenario).draw(6).loads[scenario.history + 1]  # world 1, window 1
    due = np.log(loads / loads.mean(1, keepdims=True))
    found = came[4 + 2 : 4 + 4].numpy()
    assert found == pytest.approx(np.maximum(due, found.min()), abs=2e-3)


def test_learning_lowers_the_loss_of_forecasts(network):
    seen, came = lessons("ExpertPlacement", Batch("small", {"windows": 6}, 4), 0)
    network.train()
    optimizer, losses = torch.optim.Adam(network.parameters(), 1e-2), []
    for _ in range(60):
        loss = forecast_loss(network.forecast(seen), came)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2


def test_a_surer_forecast_that_is_right_costs_less():
    came = torch.zeros(1, 4)
    right, wrong = torch.zeros(1, 2, 4), torch.ones(1, 2, 4)
    sure, unsure, even = torch.full((1, 2, 4), -2.0), torch.zeros(1, 2, 4), torch.zeros(1, 2)
    losses = [
        float(forecast_loss(Forecast(mean, log_sd, even), came))
        for mean, log_sd in ((right, sure), (right, unsure), (wrong, unsure), (wrong, sure))
    ]
    assert losses == sorted(losses)


def test_a_fresh_network_plans_in_the_first_style(network):
    view = View(_simulator())
    logits, values = network.decide(*look(view, 0))
    assert logits.argmax(1).tolist() == [0, 0]
    assert torch.isfinite(values).all()
    assert STYLES[0] is BEST
    planned = PlacementAgent("agent", network)._plan(view, 0)
    assert np.array_equal(planned, Hands(network).plan(view, 0, [BEST, BEST]))


def test_as_it_is_copies_nothing(network):
    view = View(_simulator())
    as_it_is = [style for style in STYLES if style.lasts == 0]
    held = view.state().plan[0]
    assert np.array_equal(Hands(network).plan(view, 0, as_it_is * 2), held)
    assert not np.array_equal(Hands(network).plan(view, 0, [BEST, BEST]), held)


@pytest.mark.parametrize("control", ["central", "distributed"])
def test_every_plan_is_carried_out(network, control):
    fields = {**FIELDS, "control": control, "drift": "fast"}
    policy = PlacementAgent("agent", network)
    (record,) = fleetgym.evaluate(policy, "expert-placement", "small", [0], **fields)
    assert record.metrics["dropped_tokens"] == record.metrics["illegal_actions"] == 0
    assert record.metrics["moved_gb"] > 0
    other = {**fields, "control": "central"}
    (central,) = fleetgym.evaluate(
        PlacementAgent("agent", network), "expert-placement", "small", [0], **other
    )
    assert record.metrics["moved_gb"] == central.metrics["moved_gb"]


def _planted(source, seed):
    drawn = source.draw(seed)
    loads = drawn.loads.copy()
    loads[-2:] = loads[-2:, :, ::-1]
    return replace(drawn, loads=loads)


def test_a_planted_future_changes_nothing_before_it(network):
    played = []
    for draw in (lambda source, seed: source.draw(seed), _planted):
        simulator, policy = _simulator(1, draw), PlacementAgent("agent", network)
        view = View(simulator)
        policy.reset(view, np.zeros(1, np.int64))
        actions = []
        while simulator.state().window[0] < 2:
            actions.append(as_actions(view, policy.act(view)))
            simulator.step(actions[-1])
        played.append([int(one["planner"][0, 0]) for one in actions])
    assert played[0] == played[1]
    assert len(played[0]) > 4


def test_the_first_style_is_paid_nothing_beside_its_twin(network):
    env = StyledVecEnv(
        FAMILY.load(FAMILY.vector_env)(1, "small", autoreset_mode="SameStep", **FIELDS), network
    )
    env.seed(1)
    env.reset()
    paid = {}
    for style in (0, 1):
        paid[style], done = [], False
        while not done:
            env.step_async(np.full((1, 2), style))
            seen, reward, (done,), _ = env.step_wait()
            assert env.observation_space.contains({name: t[0] for name, t in seen.items()})
            paid[style].append(float(reward[0]))
        assert len(paid[style]) == FIELDS["windows"]
    assert paid[0] == pytest.approx([0.0] * 4, abs=1e-4)
    assert any(abs(each) > 1e-3 for each in paid[1])


def test_a_follower_reaches_the_placement_it_was_given(network):
    simulator = _simulator()
    hands = Hands(network)
    follower = Follower(simulator, hands)
    follower.begin()
    wanted = hands.plan(View(simulator), 0, [BEST, BEST])
    follower.plan([0, 0])
    (role,) = simulator.roles
    while follower.window() == 0:
        simulator.step({role: follower.act()[None]})
    assert np.array_equal(np.sort(simulator.state().plan[0]), np.sort(wanted))
    twin = Twin(simulator.like(1), hands, 2)
    twin.begin(simulator.workloads[0])
    assert len(twin._paid) == FIELDS["windows"]


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    whole = load_weights(train(path, tmp_path / "whole", resume=False, report=_quiet))

    def kill(what, done, total):
        if "PPO" in what and done >= 12:
            raise KilledError

    with pytest.raises(KilledError):
        train(path, tmp_path / "killed", resume=False, report=kill)
    resumed = load_weights(train(path, tmp_path / "killed", resume=True, report=_quiet))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.rllib
def test_layers_learn_together_and_go_on_in_a_new_process(tmp_path):
    pytest.importorskip("ray")
    path, folder = tmp_path / "tiny.toml", tmp_path / "run"
    path.write_text(LAYERS)
    weights = train(path, folder, resume=False, report=_quiet)
    curve = json.loads(weights.with_suffix(".json").read_text())["curve"]
    assert [point["iteration"] for point in curve if point["course"] == "PPO"] == [1, 2]
    trained = load_weights(weights).state_dict()
    weights.unlink()
    command = (sys.executable, "-m", "fleetgym", "train", str(path), "--out", str(folder))
    subprocess.run([*command, "--resume"], check=True, env=os.environ, timeout=120)
    again = load_weights(weights).state_dict()
    assert all(torch.equal(trained[name], again[name]) for name in trained)


def test_the_shipped_network_is_small():
    assert SHIPPED.stat().st_size + SHIPPED.with_suffix(".json").stat().st_size < 500_000
    assert load_network(SHIPPED, ExpertNet).width == 32


@pytest.mark.parametrize("drift", ["medium", "fast"])
def test_the_shipped_agent_serves_faster_than_robust_search(drift):
    fields = {"drift": drift, "regret": False, "windows": 8, "layers": 2}
    times = {}
    for policy in (shipped(FAMILY)["agent"].make(1.0, 0), "robust"):
        records = fleetgym.evaluate(
            policy, "expert-placement", "ep32-small", range(500, 506), num_worlds=6, **fields
        )
        times[records[0].policy] = np.mean([r.metrics["relative_time"] for r in records])
    assert times["agent"] < times["robust"]
