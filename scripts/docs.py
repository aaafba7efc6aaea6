"""Writes the pages of docs that are made from code: ``python -m fleetgym.scripts.docs``.

In a checkout: one for each family, from its environment's docstring, and one of the hardware.
"""

import inspect
from dataclasses import fields
from pathlib import Path

from fleetgym.envs.core.registration import Family, families
from fleetgym.envs.hardware import gpu
from fleetgym.scripts.files import write

DOCS = Path(__file__).parents[1] / "docs"


def page(family: Family) -> str:
    """The family's page: its environment's docstring, its scenarios and their fields."""
    title, _, body = (inspect.getdoc(family.load(family.env)) or "").partition("\n")
    source = family.path(family.env).split(":")[0].removeprefix("fleetgym.").replace(".", "/")
    return "\n".join(
        [
            f"<!-- Made by `python -m fleetgym.scripts.docs` from {source}.py: edit that. -->",
            f"# {title.rstrip('.')}",
            "",
            f"`{family.id}`",
            body.rstrip(),
            "",
            "## Scenarios",
            *_scenarios(family),
            "",
        ]
    )


def _scenarios(family: Family) -> list[str]:
    """Each scenario with the fields it sets, then every field with its default."""
    kind = family.load(family.scenario_type)
    defaults = {f.name: f.default for f in fields(kind) if f.name not in ("name", "workload")}
    lines = ["| scenario | workload | fields that differ from the default |", "|---|---|---|"]
    for name, scenario in family.scenarios().items():
        own = {key: value for key, value in scenario.as_dict().items() if key in defaults}
        changed = [f"`{k}={_short(v)}`" for k, v in own.items() if v != defaults[k]]
        lines.append(f"| `{name}` | `{scenario.workload}` | {', '.join(changed)} |")
    listed = ", ".join(f"`{name}={_short(value)}`" for name, value in defaults.items())
    meaning = f"`help({kind.__module__}.{kind.__name__})`"
    return [*lines, "", f"Fields and their defaults (what they mean: {meaning}):", "", listed]


def _short(value: object) -> str:
    """A value as in Python; of a long list its length."""
    return f"<{len(value)} of them>" if isinstance(value, tuple) and len(value) > 8 else repr(value)


def hardware_page() -> str:
    """The page of iteration times: what is fitted, to what, and how well."""
    title, _, body = (inspect.getdoc(gpu) or "").partition("\n")
    lines = [
        "<!-- Made by `python -m fleetgym.scripts.docs` from envs/hardware: edit that. -->",
        f"# {title.rstrip('.')}",
        body.replace("``", "`").replace("::\n", ":\n").rstrip(),
        "",
        "Errors are mean absolute percentage errors at the measured points held out, every fifth:",
        "of the first term alone, and of whole iterations that only prefill or only decode. No",
        "profile measures iterations that do both: these are the sum of the parts. Quantised to",
        "picoseconds, coefficients give every machine the same times. The files they are fitted to",
        "stand beside them in `coefficients.toml`.",
        "",
        "| model | GPU | tp | points fitted, held out | first term | prefill | decode |",
        "|---|---|---|---|---|---|---|",
    ]
    for (model, device, tp), found in gpu.calibrations().items():
        errors = (
            found.first_error_percent,
            found.prefill_error_percent,
            found.decode_error_percent,
        )
        percent = " | ".join(f"{error:.1f}%" for error in errors)
        points = f"{found.fitted}, {found.held_out}"
        lines.append(f"| `{model}` | `{device}` | {tp} | {points} | {percent} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Writes every page."""
    print(write(DOCS / "hardware.md", hardware_page()))
    for family in families().values():
        print(write(DOCS / f"{family.folder}.md", page(family)))


if __name__ == "__main__":
    main()
