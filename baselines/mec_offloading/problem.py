"""Static scheduling of task graphs on places with cores: what the planners are given.

Contention-free: what leaves place p for place q takes the same time whatever else is sent, a core
runs one task at a time to its end, and all is known from the start.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fleetgym.envs.core.errors import PolicyError

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

FORBIDDEN = 1 << 60  # ns, in place of the duration of a task where it may not run
LONGEST = 1 << 50  # ns, 13 days: no single time may be longer, so that sums stay exact


class Problem(NamedTuple):
    """N tasks numbered topologically, E edges, Q places, L cores, A applications."""

    duration: Int64  # (N, Q) ns, FORBIDDEN where the task may not run
    release: Int64  # (N, Q) ns, earliest start: when what comes from outside the graph is there
    tail: Int64  # (N, Q) ns from the task's end until its result is where the user wants it
    price: Float64  # (N, Q) what the task adds to the objective there
    parent: Int32  # (E,) of each edge; edges are sorted by child, then parent
    child: Int32  # (E,)
    first_in: Int32  # (N + 1,) edges first_in[i] .. first_in[i + 1] - 1 enter task i
    first_out: Int32  # (N + 1,) likewise, of out_edge
    out_edge: Int32  # (E,) edges sorted by parent
    transfer: Int64  # (E, Q, Q) ns from the parent's place to the child's; 0 within a place
    first_core: Int32  # (Q + 1,) cores first_core[q] .. first_core[q + 1] - 1 are at place q
    free: Int64  # (L,) ns, when each core is free
    app: Int32  # (N,) application of the task
    weight: Float64  # (A,) objective per ns of the application's end


class Schedule(NamedTuple):
    """Where and when each task runs."""

    place: Int32  # (N,)
    core: Int32  # (N,)
    start: Int64  # (N,) ns
    finish: Int64  # (N,) ns


def make(
    duration: ArrayLike,
    edges: ArrayLike,
    transfer: ArrayLike,
    *,
    cores: ArrayLike | None = None,
    release: ArrayLike | None = None,
    tail: ArrayLike | None = None,
    price: ArrayLike | None = None,
    free: ArrayLike | None = None,
    app: ArrayLike | None = None,
    weight: ArrayLike | None = None,
) -> Problem:
    """A problem, checked.

    Args:
        duration: ``(N, Q)`` ns, ``FORBIDDEN`` where a task may not run.
        edges: ``(E, 2)`` parent and child, in any order; a parent's number is the smaller one.
        transfer: ``(E, Q, Q)`` ns from place to place; or ``(E,)``, the same between any two.
        cores: ``(Q,)`` of each place; one if left out.
        release: ``(N, Q)`` ns; 0 if left out.
        tail: ``(N, Q)`` ns; 0 if left out.
        price: ``(N, Q)``; 0 if left out.
        free: ``(L,)`` ns from which each core is free; 0 if left out.
        app: ``(N,)`` application of each task; 0 if left out.
        weight: ``(A,)`` of each application's end in the objective; 1 if left out.

    Raises:
        PolicyError: a shape, number or time that does not fit; a task that may run nowhere; an
            edge twice, or against the numbering.
    """
    times = np.asarray(duration, np.int64)
    if times.ndim != 2 or 0 in times.shape:
        raise PolicyError(f"durations have shape {times.shape}; expected (tasks, places)")
    n, q = times.shape
    pairs = np.asarray(edges, np.int64).reshape(-1, 2)
    by_child = np.lexsort((pairs[:, 0], pairs[:, 1]))
    sent = np.asarray(transfer, np.int64)
    if sent.ndim == 1:
        sent = sent[:, None, None] * (1 - np.eye(q, dtype=np.int64))
    counts = np.ones(q, np.int64) if cores is None else np.asarray(cores, np.int64)
    apps = np.zeros(n, np.int64) if app is None else np.asarray(app, np.int64)
    num_apps = int(apps.max(initial=0)) + 1
    weights = np.ones(num_apps) if weight is None else np.asarray(weight, np.float64)
    _check_edges(pairs, n)
    _check_shape("transfers", sent, (len(pairs), q, q))
    _check_shape("cores", counts, (q,))
    _check_shape("apps", apps, (n,))
    if (counts < 1).any() or (apps < 0).any() or len(weights) < num_apps:
        raise PolicyError(
            f"cores {counts.tolist()}, {num_apps} applications, {len(weights)} weights: each place "
            "has at least one core, each application a weight"
        )
    pairs = pairs[by_child]
    by_parent = np.argsort(pairs[:, 0], kind="stable")
    num_cores = int(counts.sum())
    problem = Problem(
        duration=np.ascontiguousarray(times),
        release=_table("releases", release, (n, q)),
        tail=_table("tails", tail, (n, q)),
        price=np.zeros((n, q)) if price is None else np.asarray(price, np.float64).reshape(n, q),
        parent=pairs[:, 0].astype(np.int32),
        child=pairs[:, 1].astype(np.int32),
        first_in=_starts(pairs[:, 1], n),
        first_out=_starts(pairs[:, 0], n),
        out_edge=by_parent.astype(np.int32),
        transfer=np.ascontiguousarray(sent[by_child]),
        first_core=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        free=_table("times at which cores are free", free, (num_cores,)),
        app=apps.astype(np.int32),
        weight=np.ascontiguousarray(weights),
    )
    _check_times(problem)
    return problem


def _table(what: str, values: ArrayLike | None, shape: tuple[int, ...]) -> Int64:
    table = np.zeros(shape, np.int64) if values is None else np.asarray(values, np.int64)
    _check_shape(what, table, shape)
    return np.ascontiguousarray(table)


def _starts(numbers: Int64, n: int) -> Int32:
    counts = np.bincount(numbers, minlength=n)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _check_shape(what: str, values: NDArray[np.int64], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise PolicyError(f"{what} have shape {values.shape}; expected {shape}")


def _check_edges(pairs: Int64, n: int) -> None:
    wrong = (pairs[:, 0] < 0) | (pairs[:, 0] >= pairs[:, 1]) | (pairs[:, 1] >= n)
    if wrong.any():
        raise PolicyError(
            f"edge {pairs[wrong][0].tolist()}: expected two of {n} tasks numbered so that a parent "
            "comes before its children"
        )
    if len(np.unique(pairs, axis=0)) < len(pairs):
        raise PolicyError("an edge is there twice; add their data together")


def _check_times(problem: Problem) -> None:
    allowed = problem.duration < FORBIDDEN
    if not allowed.any(axis=1).all():
        nowhere = int(np.argmin(allowed.any(axis=1)))
        raise PolicyError(f"task {nowhere} may run nowhere: all its durations are FORBIDDEN")
    for what, times in (
        ("duration", problem.duration[allowed]),
        ("release", problem.release),
        ("tail", problem.tail),
        ("transfer", problem.transfer),
        ("time at which a core is free", problem.free),
    ):
        if ((times < 0) | (times > LONGEST)).any():
            seen = times[(times < 0) | (times > LONGEST)].ravel()[0]
            raise PolicyError(f"a {what} of {seen} ns; expected 0 to {LONGEST}")
    if problem.transfer.diagonal(axis1=1, axis2=2).any():
        raise PolicyError("a transfer within a place takes time; it must be 0")
