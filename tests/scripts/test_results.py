"""The README's table is the one that the committed results make."""

import json
from pathlib import Path

import pytest

from fleetgym.scripts.leaderboard.score import Board
from fleetgym.scripts.leaderboard.table import between, markdown

ROOT = Path(__file__).parents[2]
README, RESULTS = ROOT / "README.md", ROOT / "scripts" / "leaderboard" / "results.json"


@pytest.mark.skipif(not RESULTS.exists(), reason="no results have been published yet")
def test_the_readmes_table_is_that_of_the_results():
    text = README.read_text(encoding="utf-8")
    begin, end = between(text)
    boards = [Board.from_json(board) for board in json.loads(RESULTS.read_text(encoding="utf-8"))]
    assert text[begin:end].strip() == markdown(boards).strip()
