import tomllib
from itertools import islice

import pytest

from fleetgym.baselines.vm_rescheduling import exact, greedy
from fleetgym.scripts.errors import CommandError
from fleetgym.scripts.screen import accepted, is_hard, left_after, problems, with_seeds

TEXT = """[one]
mnl = 2
train_seeds = [
    1, 2,
]

[two]
mnl = 3
"""


def test_seeds_are_put_into_their_table_and_nothing_else_changes():
    seeds = list(range(0, 4_000, 7))
    changed = with_seeds(TEXT, "one", "train_seeds", seeds)
    table = tomllib.loads(changed)
    assert table == {"one": {"mnl": 2, "train_seeds": seeds}, "two": {"mnl": 3}}
    assert max(map(len, changed.splitlines())) <= 100
    assert changed.endswith("]\n\n[two]\nmnl = 3\n")


def test_seeds_are_added_to_the_last_table():
    table = tomllib.loads(with_seeds(TEXT, "two", "test_seeds", [5]))
    assert table["two"] == {"mnl": 3, "test_seeds": [5]}


def test_an_unknown_table():
    with pytest.raises(CommandError, match=r"\[three\]"):
        with_seeds(TEXT, "three", "test_seeds", [5])


def test_screened_seeds_keep_their_parity_and_greedy_misses_their_optimum():
    seeds = list(islice(accepted("small", 1, 5.0, float("inf")), 2))
    assert all(seed % 2 == 1 for seed in seeds)
    posed = dict(islice(problems("small", 1), 8))
    for seed in seeds:
        problem = posed[seed]
        best, quick = exact.solve(problem, 5.0).value, greedy.plan(problem, 1.0, 0)
        assert is_hard(problem, 5.0)
        assert left_after(problem, quick) >= 1.03 * best


def test_a_fleet_that_greedy_solves_is_refused():
    _, toy = next(problems("toy", 0))
    assert not is_hard(toy, 5.0)


def test_the_shipped_lists_are_disjoint():
    from fleetgym.envs.core.registration import family_of

    for scenario in family_of("vm-rescheduling").scenarios().values():
        assert not set(scenario.train_seeds) & set(scenario.test_seeds)
