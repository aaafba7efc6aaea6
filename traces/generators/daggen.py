"""Random task graphs with the knobs of DAGGEN (Suter; github.com/frs69wq/daggen).

A graph is built level by level: about ``n ** fat`` tasks a level, more or less by ``regular``;
a task has up to ``density`` of the level above as parents, a parent lies up to ``jump`` levels
above. What it computes and sends is drawn anew here, in units that the simulator needs: cycles, and
bytes such that sending takes ``ccr`` times as long as computing, on the mean, at reference speeds.
"""

from dataclasses import dataclass

import numpy as np

from fleetgym.traces.errors import TraceError
from fleetgym.traces.schema_mec import TaskGraph, from_edges

REFERENCE_HZ = 1e9  # at which cycles count as time
REFERENCE_BITS_S = 20e6  # at which bytes do
SPREAD = 0.5  # cycles and bytes are drawn from 1 - SPREAD to 1 + SPREAD of their mean


@dataclass(frozen=True)
class Shape:
    """What a graph looks like.

    Attributes:
        tasks: n.
        fat: 0 a chain, 1 all tasks in one level.
        density: share of the level above that a task may depend on, 0 to 1.
        regular: 1 levels of equal size, 0 from none to twice as many.
        ccr: mean time of an edge's bytes over mean time of a task's cycles.
        jump: levels that an edge may span.
        cycles: mean of a task.
        memory_bytes: mean of a task.
    """

    tasks: int = 10
    fat: float = 0.5
    density: float = 0.5
    regular: float = 0.5
    ccr: float = 0.5
    jump: int = 1
    cycles: float = 2e8
    memory_bytes: float = 6.4e7

    def check(self) -> None:
        """Raises TraceError where a knob is out of range."""
        shares = (self.fat, self.density, self.regular)
        if self.tasks < 1 or self.jump < 1 or any(not 0 <= share <= 1 for share in shares):
            raise TraceError(
                f"{self}: tasks and jump must be at least 1; fat, density and regular 0 to 1"
            )
        if self.ccr < 0 or self.cycles < 2 or self.memory_bytes < 0:
            raise TraceError(f"{self}: ccr and memory_bytes must be 0 or more, cycles at least 2")

    def most_edges(self) -> int:
        """No graph of the shape has more edges."""
        above = min(self.tasks, round(self.tasks**self.fat * (2 - self.regular)))
        return int(self.tasks * min(above, 1 + int(self.density * above)))


def task_graph(shape: Shape, seed: int | list[int] | np.random.Generator) -> TaskGraph:
    """A graph of the shape. Roots read an input from the device, leaves owe it a result.

    Raises:
        TraceError: the shape is out of range.
    """
    shape.check()
    rng = np.random.default_rng(seed)
    levels = _levels(shape, rng)
    edges = _edges(shape, levels, rng)
    n = shape.tasks
    bytes_mean = shape.ccr * shape.cycles / REFERENCE_HZ * REFERENCE_BITS_S / 8

    def around(mean: float, count: int) -> list[int]:
        return [int(x) for x in np.rint(mean * rng.uniform(1 - SPREAD, 1 + SPREAD, count))]

    sizes = around(bytes_mean, len(edges))
    children = {parent for parent, _ in edges}
    parents = {child for _, child in edges}
    given, owed = around(bytes_mean, n), around(bytes_mean, n)
    return from_edges(
        "daggen",
        np.maximum(around(shape.cycles, n), 1),
        [(*edge, size) for edge, size in zip(edges, sizes, strict=True)],
        memory=around(shape.memory_bytes, n),
        inputs=[0 if task in parents else size for task, size in enumerate(given)],
        outputs=[0 if task in children else size for task, size in enumerate(owed)],
    )


def _levels(shape: Shape, rng: np.random.Generator) -> list[list[int]]:
    """Tasks by level, numbered from above."""
    mean, levels, made = shape.tasks**shape.fat, [], 0
    while made < shape.tasks:
        spread = 1 - shape.regular
        size = round(mean * rng.uniform(1 - spread, 1 + spread))
        size = min(max(1, size), shape.tasks - made)
        levels.append(list(range(made, made + size)))
        made += size
    return levels


def _edges(
    shape: Shape, levels: list[list[int]], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Parent and child of each edge, sorted."""
    edges: set[tuple[int, int]] = set()
    for depth in range(1, len(levels)):
        above = len(levels[depth - 1])
        for task in levels[depth]:
            count = min(1 + int(rng.uniform(0, shape.density * above)), above)
            # The first parent is of the level above, so that the task belongs to its own level.
            for k in range(count):
                back = 1 if k == 0 else 1 + int(rng.integers(min(shape.jump, depth)))
                edges.add((int(rng.choice(levels[depth - back])), task))
    return sorted(edges)
