"""The leaderboard as a table: headers and rows of text, and Markdown for the README."""

from pathlib import Path

from fleetgym.scripts.errors import LeaderboardError
from fleetgym.scripts.files import write
from fleetgym.scripts.leaderboard.score import GAP, Board, Row
from fleetgym.scripts.leaderboard.statistics import Estimate

BEGIN, END = "<!-- results -->", "<!-- /results -->"


def headers(board: Board) -> list[str]:
    """Of the columns."""
    score = "gap, IQM [95%]" if board.kind == GAP else "normalised score, IQM [95%]"
    versus = f"P(better than {board.best_heuristic}) [95%]"
    return ["policy", "track", score, f"mean {board.metric}", "decision time", versus]


def cells(board: Board, row: Row) -> list[str]:
    """A row's columns."""
    scale, unit = (100, "%") if board.kind == GAP else (1, "")
    late = " (over budget)" if row.over_budget > 0.5 else ""
    return [
        row.policy,
        row.track,
        _estimate(row.score, scale, unit),
        f"{row.metric:.4f}",
        seconds(row.decision_time_s) + late,
        "" if row.improvement is None else _estimate(row.improvement, 1, ""),
    ]


def _estimate(estimate: Estimate, scale: float, unit: str) -> str:
    digits = 1 if unit else 2
    value, low, high = (f"{number * scale:.{digits}f}" for number in estimate)
    return f"{value}{unit} [{low}, {high}]"


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    return f"{value:.2f} s" if value >= 0.995 else f"{value * 1e3:.3g} ms"


def caption(board: Board) -> str:
    """What was played, in one paragraph."""
    played = "; ".join(f"{suite} on {what}" for suite, what in board.workloads.items())
    budgets = ", ".join(f"{suite} {value:g} s" for suite, value in board.budget_s.items())
    others = "".join(f", {name} {value:g} s" for name, value in board.budgets.items())
    score = (
        "gap = (x - bound) / bound, the bound certified by the exact solver; less is better"
        if board.kind == GAP
        else "0 plays like random, 1 like the reference heuristic; more is better"
    )
    return (
        f"{board.id}: {played}. Score: {board.metric}, {score}. Budget on decision time: {budgets}"
        f"{others}. fleetgym {board.version}. Scores are replayed; decision time is declared."
    )


def markdown(boards: list[Board]) -> str:
    """All boards as Markdown tables with their captions."""
    blocks = []
    for board in boards:
        lines = [headers(board), ["---"] * len(headers(board))]
        lines += [cells(board, row) for row in board.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        blocks.append(f"{table}\n\n{caption(board)}\n")
    return "\n".join(blocks)


def between(text: str) -> tuple[int, int]:
    """Where the block between the markers begins and ends.

    Raises:
        LeaderboardError: a marker is missing, or they are in the wrong order.
    """
    begin, end = text.find(BEGIN), text.find(END)
    if not 0 <= begin < end:
        raise LeaderboardError(f"the text has no block between {BEGIN} and {END}")
    return begin + len(BEGIN), end


def update_readme(path: Path, boards: list[Board]) -> None:
    """Replaces the block between the markers by the table.

    Raises:
        LeaderboardError: the file cannot be read or has no such block.
    """
    try:
        text = path.read_text(encoding="utf-8")
        begin, end = between(text)
    except (OSError, LeaderboardError) as error:
        raise LeaderboardError(f"{path}: {error}") from error
    write(path, f"{text[:begin]}\n{markdown(boards)}{text[end:]}")
