"""Development script: fits GPU iteration times to the measured profiles, and writes the two files.

``python -m fleetgym.scripts.fit_hardware [FOLDER]``, with ``FLEETGYM_DATA`` or the profiles
fetched; the folder is that of ``envs/hardware`` unless another is named.
"""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetgym.envs.hardware import all_reduce, gpu, profiles
from fleetgym.envs.hardware.fitting import calibrate
from fleetgym.scripts.console import say, table
from fleetgym.scripts.files import write

HEAD = "# Made by `python -m fleetgym.scripts.fit_hardware` from measured profiles: do not edit."


def fitted_all_reduces() -> dict[tuple[str, int], all_reduce.AllReduce]:
    """All-reduce times by (gpu, tp)."""
    return {(name, fitted.tp): fitted for name, fitted in profiles.all_reduces()}


def fitted_times(
    reduces: dict[tuple[str, int], all_reduce.AllReduce],
) -> Iterator[tuple[tuple[str, str, int], gpu.Calibration]]:
    """Calibrations of everything the profiles allow."""
    for name, on, tp in profiles.combinations():
        measured = profiles.measured(name, on, tp, reduces.get((on, tp)))
        if measured is not None:
            yield (name, on, tp), calibrate(measured)


def toml_text(tables: dict[str, dict[str, Any]]) -> str:
    """The tables as TOML, each with a nested one where a value is a dictionary."""
    lines = [HEAD]
    for name, values in tables.items():
        lines += ["", f"[{name}]"]
        lines += [f"{k} = {_literal(v)}" for k, v in values.items() if not isinstance(v, dict)]
        for inner, nested in values.items():
            if isinstance(nested, dict):
                lines += [f"[{name}.{inner}]", *(f"{k} = {_literal(v)}" for k, v in nested.items())]
    return "\n".join(lines) + "\n"


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        return "\n".join(["[", *(f'    "{item}",' for item in value), "]"])
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").removesuffix(".") + (".0" if value % 1 == 0 else "")
    return f'"{value}"' if isinstance(value, str) else str(value)


def _values(instance: Any) -> dict[str, Any]:
    """The fields of a dataclass in order, dataclasses within as dictionaries, those last."""
    values = {field.name: getattr(instance, field.name) for field in fields(instance)}
    inner = {k: _values(v) for k, v in values.items() if isinstance(v, gpu.IterationTime)}
    return {k: v for k, v in values.items() if k not in inner} | inner


def main(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = gpu.TOML.parent,
) -> None:
    """Fits everything, writes coefficients.toml and all_reduce.toml, and shows the errors."""
    reduces = fitted_all_reduces()
    times = dict(fitted_times(reduces))
    tables = {f"{on}.tp{tp}": _values(fitted) for (on, tp), fitted in reduces.items()}
    say(str(write(folder / all_reduce.TOML.name, toml_text(tables))))
    tables = {f"{name}.{on}.tp{tp}": _values(each) for (name, on, tp), each in times.items()}
    say(str(write(folder / gpu.TOML.name, toml_text(tables))))
    errors = ("first_error_percent", "prefill_error_percent", "decode_error_percent")
    columns = ("fitted", "held_out", *errors)
    rows = [(*key, *(getattr(each, name) for name in columns)) for key, each in times.items()]
    table(("model", "gpu", "tp", *columns), rows)


if __name__ == "__main__":
    typer.run(main)
