"""``python -m fleetgym.scripts.results FAMILY [TITLE ...]``: plays the family's tables again.

Each table of ``FAMILY.toml`` is kept as JSON when it is done, so that a run that was stopped goes
on with the next one. Tables named are played anew; the page is written from all there are.
"""

import sys
from pathlib import Path

from fleetgym.scripts.console import say
from fleetgym.scripts.files import read_json, write, write_json
from fleetgym.scripts.results.page import as_markdown
from fleetgym.scripts.results.tables import load_tables, play

FOLDER = Path(__file__).parent
DOCS = FOLDER.parents[1] / "docs"


def main(arguments: list[str]) -> None:
    """Plays what is missing or named, and writes the page of the family."""
    family, *again = arguments
    stored = FOLDER / f"{family}.json"
    done = read_json(stored) if stored.exists() else {}
    tables = load_tables(FOLDER / f"{family}.toml")
    for table in tables:
        if table.title in done and table.title not in again:
            continue
        say(f"{table.title}: {len(table.all_rows())} rows")
        done[table.title] = play(table, say)
        write_json(stored, {t.title: done[t.title] for t in tables if t.title in done})
    write(DOCS / "results" / f"{family}.md", as_markdown(family, tables, done))


if __name__ == "__main__":
    main(sys.argv[1:])
