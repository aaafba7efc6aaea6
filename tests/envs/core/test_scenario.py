"""Scenario fields and files: every mistake is named, with the nearest valid spelling."""

import gymnasium
import pytest
from tests.envs.cases import CASES

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.registration import families, family_of
from fleetgym.envs.core.scenario import load_scenarios
from fleetgym.envs.vm_rescheduling.scenario import VMReschedulingScenario

ID = "fleetgym/VMRescheduling-v0"


@pytest.mark.parametrize(("id", "scenario"), CASES)
def test_every_scenario_survives_its_own_fields(id, scenario):
    family = families()[id]
    resolved = family.scenario(scenario)
    fields = resolved.as_dict()
    assert fields.pop("name") == scenario
    assert family.scenario(scenario, fields) == resolved


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mln", 3, r"no field 'mln': did you mean 'mnl'"),
        ("zzzz", 3, r"no field 'zzzz': valid: .*mnl"),
        ("mnl", "20", r"mnl is '20', it must be of type int"),
        ("mnl", 2.0, r"mnl is 2.0, it must be of type int"),
        ("mnl", True, r"mnl is True, it must be of type int"),
        ("mnl", 0, r"mnl is 0, it must be at least 1"),
        ("action", "both", r"action is 'both', it must be 'two-phase' or 'pair'"),
        ("split", "validation", r"'train' or 'test'"),
        ("horizon_s", 0, r"horizon_s is 0.0, it must be above 0"),
        ("horizon_s", float("inf"), r"horizon_s is inf"),
        ("churn_per_min", float("nan"), r"churn_per_min is nan"),
        ("churn_per_min", -0.1, r"churn_per_min is -0.1, it must be 0 or more"),
        ("pair_cores", 63, r"pair_cores is 63, it must be even"),
        ("weight_fragment", 0, r"above 0 if no other is"),
        ("utilisation_low", 0.99, r"utilisation_low is 0.99"),
        ("fragment_low", 0.7, r"fragment_low is 0.7"),
        ("num_racks", 21, r"num_racks is 21, it must be at most num_pms = 20"),
        ("train_seeds", 3, r"train_seeds is 3, it must be a list"),
        ("train_seeds", ["a"], r"train_seeds is 'a', it must be of type int"),
    ],
)
def test_bad_field(field, value, message):
    with pytest.raises(ScenarioError, match=message):
        gymnasium.make(ID, scenario="small", **{field: value})


def test_an_int_stands_for_a_float():
    scenario = family_of(ID).scenario("small", {"horizon_s": 60})
    assert scenario.horizon_s == 60.0
    assert isinstance(scenario.horizon_s, float)


@pytest.mark.parametrize(
    "name",
    [ID, "VMRescheduling", "VMRescheduling-v0", "fleetgym/VMRescheduling", "vm-rescheduling"],
)
def test_id_spellings(name):
    assert family_of(name).id == ID


def test_unknown_id_names_the_nearest():
    with pytest.raises(ScenarioError, match="VMRescheduling-v0"):
        family_of("VMReschedulin")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a\nworkload = 'toy'", r"s\.toml: .*line"),
        ("mnl = 3", r"\[mnl\] must be a table"),
        ("[a]\nmnl = 3", r"\[a\] must be a table with a workload"),
        ("[a]\nworkload = 'toy'\nname = 'b'", r"\[a\] has a field 'name'"),
        ("[a]\nworkload = 'toy'\nweight_pairs = 1.0", r"\[a\].*'weight_pairs'.*'weight_pair'"),
        ("[a]\nworkload = 'toy'\nmnl = 'many'", r"'a': mnl is 'many', it must be of type int"),
        ("[a]\nworkload = 'toy'\nmnl = -1", r"'a': mnl is -1, it must be at least 1"),
        ("[a]\nworkload = 3", r"workload is 3, it must be of type str"),
    ],
)
def test_bad_file(tmp_path, text, message):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=message):
        load_scenarios(VMReschedulingScenario, path)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(ScenarioError, match=r"none\.toml"):
        load_scenarios(VMReschedulingScenario, tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match=r"b\.toml"):
        load_scenarios(VMReschedulingScenario, tmp_path / "b.toml")
