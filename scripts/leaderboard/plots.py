"""The report's plots, as SVG text."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetgym.envs.core.errors import MissingExtraError
from fleetgym.scripts.leaderboard.score import Board
from fleetgym.scripts.leaderboard.statistics import profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT = "#1b4f72", "#d35400"  # online, clairvoyant
WIDTH = 7.0  # inches
THRESHOLDS = 200


def figure(height: float) -> tuple["Figure", "Axes"]:
    """An empty plot.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("plots need matplotlib: pip install 'fleetgym[plots]'") from error
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "fleetgym"
    drawn = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = drawn.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return drawn, axes


def svg(drawn: "Figure") -> str:
    """The figure as an ``<svg>`` element."""
    text = io.StringIO()
    drawn.savefig(text, format="svg", metadata={"Date": None})
    content = text.getvalue()
    return content[content.index("<svg") :]


def _label(board: Board) -> str:
    return "gap to the bound" if board.less_is_better else "normalised score"


def _colour(row: Any) -> str:
    return INK if row.track == "online" else SOFT


def intervals(board: Board) -> str:
    """IQM of each policy with its 95% interval."""
    drawn, axes = figure(0.6 + 0.3 * len(board.rows))
    for place, row in enumerate(reversed(board.rows)):
        axes.plot(
            [row.score.low, row.score.high], [place, place], color=_colour(row), lw=5, alpha=0.4
        )
        axes.plot(row.score.value, place, "o", color=_colour(row))
    axes.set_yticks(range(len(board.rows)), [row.policy for row in reversed(board.rows)])
    axes.set_xlabel(f"{_label(board)} (IQM, 95% stratified bootstrap interval)")
    axes.grid(axis="x", alpha=0.3)
    return svg(drawn)


def against_time(board: Board) -> str:
    """Score against decision time."""
    drawn, axes = figure(4.0)
    for row in board.rows:
        axes.plot(max(row.decision_time_s, 1e-5), row.score.value, "o", color=_colour(row))
        axes.annotate(
            row.policy,
            (max(row.decision_time_s, 1e-5), row.score.value),
            xytext=(5, 3),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_xlabel("decision time of an episode (s, median, declared)")
    axes.set_ylabel(_label(board))
    axes.grid(alpha=0.3)
    return svg(drawn)


def profiles(board: Board) -> str:
    """Performance profiles: the share of workloads solved at least as well as a threshold."""
    drawn, axes = figure(4.0)
    everything = np.concatenate([runs for scores in board.scores.values() for runs in scores])
    thresholds = np.linspace(everything.min(), everything.max(), THRESHOLDS)
    for row in board.rows:
        shares = profile(board.scores[row.policy], thresholds, board.less_is_better)
        axes.plot(thresholds, shares, drawstyle="steps-post", label=row.policy, lw=1.4)
    axes.set_xlabel(f"{_label(board)}, threshold")
    axes.set_ylabel("share of workloads at least as good")
    axes.legend(fontsize=7, ncols=2)
    axes.grid(alpha=0.3)
    return svg(drawn)


def workloads(board: Board) -> str:
    """Every workload's score, a box and its dots for each policy."""
    drawn, axes = figure(0.6 + 0.35 * len(board.rows))
    rows = list(reversed(board.rows))
    runs = [np.concatenate(board.scores[row.policy]) for row in rows]
    axes.boxplot(runs, orientation="horizontal", showfliers=False, widths=0.6)
    for place, scores in enumerate(runs, start=1):
        jitter = np.linspace(-0.2, 0.2, len(scores))
        axes.plot(scores, place + jitter, ".", color=_colour(rows[place - 1]), ms=3, alpha=0.6)
    axes.set_yticks(range(1, len(rows) + 1), [row.policy for row in rows])
    axes.set_xlabel(f"{_label(board)}, each workload")
    axes.grid(axis="x", alpha=0.3)
    return svg(drawn)
