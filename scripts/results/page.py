"""Tables of results as a page of docs."""

import math
from collections.abc import Mapping, Sequence

from fleetgym.scripts.results.tables import Results, Table


def as_markdown(family: str, tables: Sequence[Table], done: Mapping[str, Results]) -> str:
    """The page: a section for each table that was played."""
    lines = [
        f"<!-- Made by `python -m fleetgym.scripts.results {family}` from "
        f"scripts/results/{family}.toml: edit that. -->",
        f"# Results: {family.replace('-', ' ')}",
        "",
        "Means over test workloads. A difference is that of the column before it from the row in",
        "italics, workload by workload, with its 95% bootstrap interval.",
    ]
    for table in tables:
        if table.title in done:
            lines += ["", f"## {table.title}", "", *_section(table, done[table.title])]
    return "\n".join(lines) + "\n"


def _section(table: Table, results: Results) -> list[str]:
    setting = "".join(f", `{name}={value!r}`" for name, value in table.overrides.items())
    workload = f", workload `{table.workload}`" if table.workload else ""
    count = len(range(*table.seeds))
    lines = [f"`{table.id}`, scenario `{table.scenario}`{workload}{setting}; {count} workloads."]
    if table.note:
        lines += ["", table.note]
    compared = table.metrics[: table.compared] if table.reference else ()
    heads = [""]
    for metric in table.metrics:
        heads += [metric, "difference"] if metric in compared else [metric]
    lines += ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in table.names():
        cells = [f"*{row}*" if row == table.reference else row]
        for metric in table.metrics:
            mean, *difference = results[row][metric]
            cells += [_number(mean), *([_difference(difference)] if metric in compared else [])]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _difference(found: Sequence[float]) -> str:
    if not found:
        return ""
    mean, low, high = found
    return f"{_number(mean, '+')} [{_number(low, '+')}, {_number(high, '+')}]"


def _number(value: float, sign: str = "") -> str:
    """Four significant digits, never in powers of ten below a million."""
    if math.isnan(value):
        return ""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return f"{value:{sign}.{digits}f}"
