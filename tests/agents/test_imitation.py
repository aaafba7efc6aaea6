import numpy as np
import pytest
import torch

from fleetgym.agents.experts import Plan
from fleetgym.agents.imitation import Lesson, any_of, lesson_loss, open_mask, sample
from fleetgym.agents.networks.fleet import FleetNet
from fleetgym.baselines.vm_rescheduling import PLANNERS
from fleetgym.baselines.vm_rescheduling.planning import problem_of
from fleetgym.envs.core.view import View


def _plans(worlds):
    """Plans up to their first stop-over (a VM that moves twice): of the rest the order matters."""
    plans = []
    for world in range(worlds.num_worlds):
        problem, vms = problem_of(View(worlds), world)
        moves = PLANNERS["slot-greedy"](problem, 1.0, 0)
        again = [k for k in range(len(moves)) if moves[k, 0] in moves[:k, 0]]
        moves = moves[: min(again, default=len(moves))]
        plans.append(Plan(np.column_stack((vms[moves[:, 0]], moves[:, 1])).astype(np.int32), 0.1))
    return plans


def test_labels_are_the_plan_and_its_likes(simulator):
    worlds = simulator(3)
    plans = _plans(worlds)
    lesson = Lesson(worlds, plans)
    possible = lesson.possible()
    labels = lesson.vm_labels(possible)
    state = worlds.state()
    for i, plan in enumerate(plans):
        assert possible[i, 0]  # the first migration of a plan is legal
        now = plan.moves[possible[i, : len(plan.moves)]]
        place = 2 * state.vm_pm[i] + state.vm_numa[i]
        wanted = {(int(place[vm]), int(state.vm_type[i, vm])) for vm, _ in now}
        likes = {
            vm
            for vm in np.flatnonzero(state.vm_pm[i] >= 0)
            if (int(place[vm]), int(state.vm_type[i, vm])) in wanted
        }
        assert set(np.flatnonzero(labels[i]).tolist()) == likes


def test_an_empty_plan_says_stop(simulator):
    worlds = simulator(1)
    lesson = Lesson(worlds, [Plan(np.empty((0, 2), np.int32), 0.0)])
    assert np.flatnonzero(lesson.vm_labels(lesson.possible())[0]).tolist() == [worlds.sizes.vms]


def test_following_the_plan_reaches_its_end(simulator):
    """With no choice of its own, the network's lesson makes exactly as many moves as planned."""
    torch.manual_seed(0)
    worlds = simulator(3)
    plans = _plans(worlds)
    expected = []
    for i, plan in enumerate(plans):
        problem, vms = problem_of(View(worlds), i)
        index = {int(vm): k for k, vm in enumerate(vms)}
        for vm, slot in plan.moves:
            problem = problem.moved(index[int(vm)], int(slot))
        expected.append(problem.fragment_rate())
    lesson, network = Lesson(worlds, plans), FleetNet(8)
    while not worlds.over().all():
        loss, parts = lesson_loss(network, lesson, 0.0, 0.1, np.random.default_rng(0))
        assert torch.isfinite(loss)
        assert set(parts) == {"loss", "vm", "slot", "value"}
    assert worlds.metrics()["migrations"].tolist() == [len(plan.moves) for plan in plans]
    assert worlds.metrics()["fragment_rate"] == pytest.approx(expected)
    assert worlds.metrics()["illegal_actions"].sum() == 0


def test_any_of_is_a_log_probability():
    logits = torch.tensor([[0.0, 1.0, 2.0, 9.0]])
    legal = torch.tensor([[True, True, True, False]])
    labels = torch.tensor([[True, True, False, True]])
    weights = torch.exp(logits[0, :3])
    expected = -torch.log((weights[0] + weights[1]) / weights.sum())
    assert any_of(logits, legal, labels).item() == pytest.approx(expected.item(), abs=1e-5)


def test_sample_follows_the_distribution():
    torch.manual_seed(0)
    logits = torch.tensor([0.0, 1.0, 3.0]).expand(20_000, 3)
    legal = torch.tensor([True, True, False]).expand(20_000, 3)
    drawn = sample(logits, legal)
    assert drawn.max() == 1
    assert drawn.float().mean().item() == pytest.approx(np.e / (1 + np.e), abs=0.02)


def test_learning_lowers_the_loss(simulator):
    torch.manual_seed(0)
    worlds, network = simulator(8), FleetNet(16)
    start, plans = worlds.save(0), _plans(worlds)
    saved = [worlds.save(i) for i in range(8)]
    assert start == saved[0]
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    means = []
    for _ in range(12):
        for i in range(8):
            worlds.restore(i, saved[i])
        lesson, losses = Lesson(worlds, plans), []
        while not worlds.over().all():
            loss, _ = lesson_loss(network, lesson, 0.0, 0.0, np.random.default_rng(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        means.append(np.mean(losses))
    assert means[-1] < 0.8 * means[0]
    assert open_mask(worlds).dtype == np.bool_
