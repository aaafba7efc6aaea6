"""Development script: finds generator seeds whose fleets greedy does not solve.

``python -m fleetgym.scripts.screen SCENARIO --into envs/vm_rescheduling/scenarios.toml``

A seed is accepted if the fragment rate after best single moves is at least 3% above the optimum,
as a plan of the large neighbourhood search or of the exact solver proves. Train seeds are even and
test seeds odd, so that no seed is both.
"""

import re
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Annotated

import typer

from fleetgym.baselines.vm_rescheduling import exact, greedy, lns
from fleetgym.baselines.vm_rescheduling.planning import problem_of
from fleetgym.baselines.vm_rescheduling.problem import Moves, Problem
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View
from fleetgym.scripts.console import note, say
from fleetgym.scripts.errors import CommandError
from fleetgym.scripts.files import write

MARGIN = 0.03  # of the optimum, by which greedy must miss it
BATCH = 64  # candidate seeds a source is opened for
COLUMNS = 96


def problems(scenario: str, first: int) -> Iterator[tuple[int, Problem]]:
    """Generator seeds ``first``, ``first + 2``, ... with the problem each poses."""
    family = family_of("vm-rescheduling")
    for start in count(first, 2 * BATCH):
        seeds = tuple(range(start, start + 2 * BATCH, 2))
        resolved = family.scenario(scenario, {"split": "train", "train_seeds": seeds})
        source = family.workloads(resolved)
        simulator = family.simulate(resolved, source, 1)
        for index, seed in enumerate(seeds):
            simulator.reset([source.draw(index)])
            yield seed, problem_of(View(simulator), 0)[0]


def left_after(problem: Problem, moves: Moves) -> float:
    """The fragment rate after a plan."""
    for vm, slot in moves:
        problem = problem.moved(int(vm), int(slot))
    return problem.fragment_rate()


def is_hard(problem: Problem, seconds: float) -> bool:
    """Whether greedy stays at least the margin above the optimum.

    A plan that much better than greedy's proves it; the exact solver is asked only where the
    quick search found none.
    """
    left = left_after(problem, greedy.plan(problem, 0.0, 0))
    for planner in (lns.plan, exact.plan):
        reached = left_after(problem, planner(problem, seconds, 0))
        if left > reached and left >= (1 + MARGIN) * reached:
            return True
    return False


def accepted(scenario: str, first: int, seconds: float, deadline: float) -> Iterator[int]:
    """Accepted seeds, until the deadline (``time.monotonic``)."""
    seen = 0
    for kept, (seed, problem) in enumerate(problems(scenario, first)):
        seen = kept + 1
        if is_hard(problem, seconds):
            yield seed
        if time.monotonic() > deadline:
            note(f"{scenario}: the time is over after {seen} candidates")
            return


def with_seeds(text: str, scenario: str, field: str, seeds: list[int]) -> str:
    """The TOML text with a list of seeds in a scenario's table, in place of one that was there.

    Raises:
        CommandError: the text has no such table.
    """
    table = re.search(rf"^\[{re.escape(scenario)}\]\n(?:(?!\[\w).*\n?)*", text, re.MULTILINE)
    if table is None:
        raise CommandError(f"no table [{scenario}]")
    without = re.sub(rf"^{field} = \[[^\]]*\]\n", "", table.group(), flags=re.MULTILINE)
    body = without.rstrip("\n")
    after = table.group()[len(table.group().rstrip("\n")) :]
    return f"{text[: table.start()]}{body}\n{_listed(field, seeds)}{after}{text[table.end() :]}"


def _listed(field: str, seeds: list[int]) -> str:
    lines, line = [], "   "
    for seed in seeds:
        if len(line) + len(f" {seed},") > COLUMNS:
            lines.append(line)
            line = "   "
        line += f" {seed},"
    return "\n".join([f"{field} = [", *lines, line, "]"])


def main(
    scenario: str,
    train: Annotated[int, typer.Option(min=1, help="Train seeds wanted.")] = 256,
    test: Annotated[int, typer.Option(min=1, help="Test seeds wanted.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each solver.")] = 10.0,
    minutes: Annotated[float, typer.Option(min=0.1, help="In all.")] = 10.0,
    into: Annotated[Path | None, typer.Option(help="TOML file to write the lists into.")] = None,
) -> None:
    """Screens seeds, test ones first, and writes the lists."""
    began = time.monotonic()
    for field, wanted, first, share in (("test_seeds", test, 1, 0.5), ("train_seeds", train, 0, 1)):
        deadline = began + share * 60 * minutes
        seeds = list(islice(accepted(scenario, first, seconds, deadline), wanted))
        say(f"{scenario}: {len(seeds)} {field}, up to {max(seeds, default=0)}")
        if into and seeds:
            write(into, with_seeds(into.read_text(encoding="utf-8"), scenario, field, seeds))
        elif seeds:
            say(_listed(field, seeds))


if __name__ == "__main__":
    typer.run(main)
