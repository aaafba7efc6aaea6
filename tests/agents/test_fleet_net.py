import numpy as np
import torch

from fleetgym.agents.imitation import observe
from fleetgym.agents.networks.fleet import FleetNet, Observation


def _scores(network, obs, vm):
    encoding = network.encode(obs)
    fleet = network.summary(encoding, obs.progress)
    return network.score_vms(encoding, fleet), network.score_slots(encoding, fleet, obs, vm)


def test_update_equals_encoding_anew(simulator, migrate):
    torch.manual_seed(0)
    network, worlds, rng = FleetNet(16), simulator(4, mnl=30), np.random.default_rng(0)
    with torch.inference_mode():
        encoding = network.encode(observe(worlds))
        same_machine = 0
        for _ in range(25):
            changed = migrate(worlds, rng)
            same_machine += int((changed[:, 0] == changed[:, 1]).sum())
            obs = observe(worlds)
            network.update(encoding, obs, torch.from_numpy(changed))
            for name, kept, anew in zip(
                encoding._fields, encoding, network.encode(obs), strict=True
            ):
                assert torch.allclose(kept, anew, atol=1e-3), name
    assert same_machine > 0  # a move between the nodes of one machine was among them


def test_scores_do_not_depend_on_order_or_size(simulator):
    torch.manual_seed(0)
    network, worlds = FleetNet(16), simulator(1)
    obs = observe(worlds)
    vm = obs.host[0].ge(0).nonzero()[:1, 0]
    p, v = obs.pms.shape[1], obs.vms.shape[1]
    pm_order, vm_order = torch.randperm(p), torch.randperm(v)
    place = torch.argsort(pm_order)
    host = obs.host[:, vm_order]
    shuffled = Observation(
        obs.pms[:, pm_order],
        obs.vms[:, vm_order],
        torch.where(host >= 0, place[host.clamp(min=0)], -1),
        obs.progress,
    )
    vms, slots = _scores(network, obs, vm)
    vms2, slots2 = _scores(network, shuffled, torch.argsort(vm_order)[vm])
    assert torch.allclose(vms[:, :v][:, vm_order], vms2[:, :v], atol=1e-4)
    by_machine = slots.reshape(1, p, 2)[:, pm_order]
    assert torch.allclose(by_machine, slots2.reshape(1, p, 2), atol=1e-4)


def test_same_weights_play_another_size(simulator):
    network = FleetNet(16)
    for size in (8, 30):
        obs = observe(simulator(2, num_pms=size))
        vms, slots = _scores(network, obs, torch.zeros(2, dtype=torch.int64))
        assert vms.shape == (2, obs.vms.shape[1] + 1)
        assert slots.shape == (2, 2 * size)
        assert torch.isfinite(vms).all()


def test_empty_fleet_is_finite():
    obs = Observation(
        torch.zeros(1, 3, 16), torch.zeros(1, 4, 9), torch.full((1, 4), -1), torch.zeros(1, 5)
    )
    network = FleetNet(8)
    vms, _ = _scores(network, obs, torch.zeros(1, dtype=torch.int64))
    assert torch.isfinite(vms).all()
