"""Values from TOML and from users, checked against the fields of frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.traces.errors import nearest

T = TypeVar("T")


def typed(where: str, field: str, value: Any, hint: Any) -> Any:
    """The value as the field's type: an int where a float is due, a table as its dataclass.

    Raises:
        ScenarioError: it is of another type, or not one of the literals.
    """
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return from_table(hint, value, f"{where}.{field}")
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        wanted = " or ".join(repr(choice) for choice in get_args(hint))
    elif get_origin(hint) is tuple:
        if isinstance(value, (list, tuple)):
            inner = get_args(hint)[0]
            return tuple(typed(where, field, item, inner) for item in value)
        wanted = "a list"
    elif get_origin(hint) is dict:
        if isinstance(value, Mapping):
            return dict(value)
        wanted = "a table"
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif type(value) is hint:
        return value
    else:
        wanted = f"of type {hint.__name__}"
    raise ScenarioError(f"{where}: {field} is {value!r}, it must be {wanted}")


def from_table(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """A frozen dataclass from a table; its own dataclass fields from tables within.

    Raises:
        ScenarioError: a field is unknown (names the nearest), missing or mistyped.
    """
    hints = get_type_hints(cls)
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for name in table:
        if name not in known:
            raise ScenarioError(f"{where} has no field {name!r}: {nearest(name, known)}")
    for name, field in known.items():
        optional = field.default is not MISSING or field.default_factory is not MISSING
        if name not in table and not optional:
            raise ScenarioError(f"{where}: field {name!r} is missing")
    return cls(**{name: typed(where, name, value, hints[name]) for name, value in table.items()})
