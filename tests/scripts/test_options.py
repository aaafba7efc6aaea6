import pytest

from fleetgym.scripts.errors import CommandError
from fleetgym.scripts.options import parse_overrides, parse_seeds


def test_seeds():
    assert list(parse_seeds("3:6")) == [3, 4, 5]
    assert list(parse_seeds("7")) == [7]


@pytest.mark.parametrize("text", ["", "a:b", "3:3", "5:2", "-1:2", "1:2:3", "1.5"])
def test_bad_seeds_name_what_was_given(text):
    with pytest.raises(CommandError, match="A:B") as error:
        parse_seeds(text)
    assert repr(text) in str(error.value)


def test_overrides_are_toml_values_or_plain_texts():
    given = ["mnl=3", "churn_per_min=0.5", "action=pair", 'name="x y"', "seeds=[1, 2]", "big=true"]
    assert parse_overrides(given) == {
        "mnl": 3,
        "churn_per_min": 0.5,
        "action": "pair",
        "name": "x y",
        "seeds": [1, 2],
        "big": True,
    }


def test_a_value_cannot_smuggle_in_other_fields():
    assert parse_overrides(["mnl=3\nother = 4"]) == {"mnl": "3\nother = 4"}


@pytest.mark.parametrize("given", [["mnl"], ["=3"], ["mnl=3", "mnl=4"]])
def test_bad_overrides(given):
    with pytest.raises(CommandError, match="--set"):
        parse_overrides(given)
