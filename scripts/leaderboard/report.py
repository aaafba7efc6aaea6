"""The leaderboard as one self-contained HTML page."""

from html import escape

from fleetgym._version import __version__
from fleetgym.scripts.leaderboard import plots
from fleetgym.scripts.leaderboard.score import Board
from fleetgym.scripts.leaderboard.table import caption, cells, headers

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; }
tr.clairvoyant td { color: #b9480e; }
svg { max-width: 100%; height: auto; }
figure { margin: 2rem 0; } figcaption { color: #555; }
"""

PLOTS = (
    (plots.intervals, "Interquartile mean over workloads with 95% stratified bootstrap intervals."),
    (plots.against_time, "What thinking longer buys. Decision time is declared, not replayed."),
    (plots.profiles, "Performance profiles: the further up and left, the better (gap)."),
    (plots.workloads, "Every workload: quartiles and single episodes."),
)


def page(boards: list[Board]) -> str:
    """The whole page.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    sections = "\n".join(_section(board) for board in boards)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fleetgym leaderboard</title>
<style>{STYLE}</style>
</head>
<body>
<h1>fleetgym leaderboard</h1>
<p>Made by fleetgym {__version__}. Every score on this page was recomputed by replaying the episode
records; decision time is what the machine that played them declared, and no replay can prove it.
Clairvoyant policies see the future and are ranked apart: they stand in orange.</p>
{sections}
</body>
</html>
"""


def _section(board: Board) -> str:
    heads = "".join(f"<th>{escape(text)}</th>" for text in headers(board))
    tracks = [
        _track(board, track)
        for track in ("online", "clairvoyant")
        if any(row.track == track for row in board.rows)
    ]
    figures = "\n".join(
        f"<figure>{plot(board)}<figcaption>{escape(text)}</figcaption></figure>"
        for plot, text in PLOTS
    )
    return (
        f"<h2>{escape(board.id)}</h2>\n<p>{escape(caption(board))}</p>\n"
        f"<table><thead><tr>{heads}</tr></thead>\n{''.join(tracks)}</table>\n{figures}"
    )


def _track(board: Board, track: str) -> str:
    lines = []
    for row in board.rows:
        if row.track == track:
            shown = "".join(f"<td>{escape(text)}</td>" for text in cells(board, row))
            lines.append(f'<tr class="{track}" title="{escape(row.summary)}">{shown}</tr>')
    return f"<tbody>{''.join(lines)}</tbody>\n"
