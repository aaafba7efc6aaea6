import numpy as np
import pytest
import torch

import fleetgym
from fleetgym.agents.networks.fleet import FleetNet
from fleetgym.agents.search import NetworkPolicy, rollouts
from fleetgym.agents.shipped import shipped
from fleetgym.agents.weights import load_weights, save_weights
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View


def test_the_best_plan_is_worth_what_it_says(simulator):
    torch.manual_seed(0)
    worlds = simulator(1)
    before = worlds.objective()[0]
    imagined = View(worlds).imagine(0, 8)
    found = rollouts(FleetNet(16), imagined, 1.0, True)
    assert worlds.objective()[0] == before  # nothing happened to the world itself
    v = worlds.sizes.vms
    for vm, slot in found.moves:
        worlds.step({"scheduler": np.array([[vm]])})
        worlds.step({"scheduler": np.array([[v + 1 + slot]])})
    assert worlds.objective()[0] == pytest.approx(found.objective, abs=1e-12)
    assert found.objective <= before


def test_more_rollouts_are_never_worse(simulator):
    network = FleetNet(16)
    found = []
    for k in (1, 4, 16):
        torch.manual_seed(3)
        found.append(rollouts(network, View(simulator(1)).imagine(0, k), 1.0, True).objective)
    assert found[0] >= found[1] - 1e-12
    assert found[0] >= found[2] - 1e-12


@pytest.mark.parametrize("action", ["two-phase", "pair"])
def test_policy_is_legal_recorded_and_replayed(action):
    policy = NetworkPolicy("net", FleetNet(16), k=4)
    records = fleetgym.evaluate(policy, "vm-rescheduling", "small", [0, 1], action=action)
    for record in records:
        assert fleetgym.replay(record) == record.metrics
        assert record.metrics["illegal_actions"] == 0


def test_weights_come_back(tmp_path):
    network = FleetNet(8)
    save_weights(network, tmp_path / "w.safetensors", {"note": "test"})
    again = load_weights(tmp_path / "w.safetensors")
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("damage", ["truncated", "no-json", "other-width", "not-json"])
def test_damaged_weights_are_refused(tmp_path, damage):
    path = tmp_path / "w.safetensors"
    save_weights(FleetNet(8), path, {})
    about = path.with_suffix(".json")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "no-json":
        about.unlink()
    elif damage == "other-width":
        about.write_text('{"width": 16}')
    else:
        about.write_text("{")
    with pytest.raises(PolicyError, match=r"w\.safetensors"):
        load_weights(path)


def test_shipped_agent_plays_and_beats_doing_nothing():
    family = family_of("vm-rescheduling")
    agents = shipped(family)
    assert {"agent", "agent-1", "agent-16", "agent-64"} <= set(agents)
    policy = agents["agent-16"].make(0.0, 0)
    records = fleetgym.evaluate(policy, "vm-rescheduling", "small", range(4))
    random = fleetgym.evaluate("random", "vm-rescheduling", "small", range(4))
    mine = np.mean([record.metrics["fragment_rate"] for record in records])
    assert mine < np.mean([record.metrics["fragment_rate"] for record in random])
