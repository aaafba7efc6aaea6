"""EPLB: the documented example exactly, and what holds for every size."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from fleetgym.baselines.expert_placement.eplb import rebalance_experts
from fleetgym.envs.core.errors import PolicyError

GOLDEN = Path(os.environ.get("FLEETGYM_DATA", "no-such-folder")) / "moe/eplb_readme_golden.json"
SIZES = [
    (layers, experts, slots, groups, nodes, gpus)
    for layers, experts, slots, groups, nodes, gpus in itertools.product(
        (1, 3), (4, 8, 12, 60, 64), (8, 16, 24, 64, 72, 96), (1, 2, 3, 4, 8), (1, 2, 4), (2, 8, 24)
    )
    if slots >= experts and slots % gpus == 0 and gpus % nodes == 0 and experts % groups == 0
]
README = [
    [90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
    [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27],
]
README_PLAN = [
    [5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
    [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1],
]


def slow_pack(weight, packs):
    """Heaviest first to the pack that holds least and has room: pack and rank of each item."""
    room = len(weight) // packs
    if room == 1:
        return [(item, 0) for item in range(len(weight))]
    held, place = [[] for _ in range(packs)], [None] * len(weight)
    for item in sorted(range(len(weight)), key=lambda item: -weight[item]):
        pack = min(
            (p for p in range(packs) if len(held[p]) < room),
            key=lambda p: sum(weight[i] for i in held[p]),
        )
        place[item] = (pack, len(held[pack]))
        held[pack].append(item)
    return place


def slow_replicas(weight, slots):
    """The experts of the slots: each once, then again and again the largest share."""
    chosen = list(range(len(weight)))
    while len(chosen) < slots:
        chosen.append(max(range(len(weight)), key=lambda e: weight[e] / chosen.count(e)))
    return chosen


def slow_eplb(weight, slots, groups, nodes, gpus):
    """One layer by the published description."""
    size, own, room = len(weight) // groups, slots // nodes, slots // gpus
    totals = [sum(weight[u * size : (u + 1) * size]) for u in range(groups)]
    place = slow_pack(totals, nodes)
    plan = []
    for node in range(nodes):
        mine = sorted((u for u in range(groups) if place[u][0] == node), key=lambda u: place[u][1])
        experts = [u * size + i for u in mine for i in range(size)]
        load = [weight[e] for e in experts]
        items = slow_replicas(load, own)
        shares = [load[e] / items.count(e) for e in items]
        part = [None] * own
        for item, (gpu, rank) in enumerate(slow_pack(shares, gpus // nodes)):
            part[gpu * room + rank] = experts[items[item]]
        plan += part
    return plan


def test_the_documented_example():
    phy2log, log2phy, logcnt = rebalance_experts(README, 16, 4, 2, 8)
    assert phy2log.tolist() == README_PLAN
    assert logcnt.sum(axis=1).tolist() == [16, 16]
    assert log2phy.shape == (2, 12, 2)


def test_the_golden_file():
    if not GOLDEN.is_file():
        pytest.skip("moe/eplb_readme_golden.json is not in FLEETGYM_DATA")
    golden = json.loads(GOLDEN.read_text())
    sizes = [golden[f"num_{what}"] for what in ("replicas", "groups", "nodes", "gpus")]
    phy2log, _, _ = rebalance_experts(golden["weight"], *sizes)
    assert phy2log.tolist() == golden["phy2log"]


@pytest.mark.parametrize("hierarchical", [True, False])
def test_every_size_against_the_description(hierarchical):
    rng = np.random.default_rng(1)
    seen = 0
    for layers, experts, slots, groups, nodes, gpus in SIZES:
        if (groups % nodes == 0) != hierarchical:
            continue
        weight = np.rint(rng.lognormal(0, 1, (layers, experts)) * 100)
        phy2log, log2phy, logcnt = rebalance_experts(weight, slots, groups, nodes, gpus)
        shape = (groups, nodes) if hierarchical else (1, 1)
        expected = [slow_eplb(row, slots, *shape, gpus) for row in weight.tolist()]
        assert phy2log.tolist() == expected
        check(phy2log, log2phy, logcnt, (experts, slots, groups, nodes), hierarchical)
        seen += 1
    assert seen > 50


def check(phy2log, log2phy, logcnt, sizes, hierarchical):
    experts, slots, groups, nodes = sizes
    for plan, where, counts in zip(phy2log, log2phy, logcnt, strict=True):
        assert np.bincount(plan, minlength=experts).tolist() == counts.tolist()
        assert counts.min() >= 1
        assert counts.sum() == slots
        for expert in range(experts):
            there = where[expert][where[expert] >= 0]
            assert sorted(there) == np.flatnonzero(plan == expert).tolist()
            assert (where[expert][counts[expert] :] == -1).all()
        if hierarchical:
            size, own = experts // groups, slots // nodes
            for group in range(groups):
                homes = {slot // own for slot in np.flatnonzero(plan // size == group)}
                assert len(homes) == 1, "a group is torn over nodes"


@pytest.mark.parametrize(
    ("weight", "sizes", "message"),
    [
        ([[1.0, np.nan]], (2, 1, 1, 2), r"weight\[0, 1\] is nan"),
        ([[1.0, -2.0]], (2, 1, 1, 2), r"weight\[0, 1\] is -2.0"),
        ([1.0, 2.0], (2, 1, 1, 2), r"shape \(2,\), not \(layers, experts\)"),
        ([[1.0, 2.0, 3.0]], (2, 1, 1, 2), "2 replicas are fewer than the 3 experts"),
        ([[1.0, 2.0]], (3, 1, 1, 2), "3 replicas do not divide by 2 GPUs"),
        ([[1.0, 2.0]], (6, 1, 2, 3), "3 GPUs do not divide by 2 nodes"),
        ([[1.0, 2.0, 3.0]], (4, 2, 1, 2), "3 experts, 2 groups"),
        ([[1.0, 2.0]], (2, 1, 1, 0), "at least 1"),
    ],
)
def test_bad_input(weight, sizes, message):
    with pytest.raises(PolicyError, match=message):
        rebalance_experts(weight, *sizes)


def test_loads_of_nothing_are_still_planned():
    phy2log, _, logcnt = rebalance_experts(np.zeros((2, 4)), 8, 1, 1, 2)
    assert logcnt.min() >= 1
    assert phy2log.shape == (2, 8)
