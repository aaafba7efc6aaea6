"""A submission: a folder of records and the ``submission.toml`` that declares them."""

import json
import platform
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fleetgym._version import __version__
from fleetgym.scripts.errors import LeaderboardError
from fleetgym.scripts.files import write
from fleetgym.scripts.leaderboard.suite import Suite
from fleetgym.traces.errors import nearest

FILE = "submission.toml"


@dataclass(frozen=True)
class Submission:
    """What a submission declares of itself.

    Attributes:
        policy: name, as in its records.
        information: "online" or "clairvoyant": its track.
        summary: one line.
        hardware: on which decision times were measured.
        version: of the package that played it.
    """

    policy: str
    information: str
    summary: str
    hardware: str
    version: str = __version__

    def write(self, folder: Path) -> Path:
        """Writes ``submission.toml``."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in asdict(self).items()]
        return write(folder / FILE, "\n".join(lines) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Submission":
        """Reads and checks ``submission.toml``.

        Raises:
            LeaderboardError: it is not there, not TOML, or has other fields.
        """
        path = folder / FILE
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LeaderboardError(f"{path}: not a readable submission: {error}") from error
        known = {item.name for item in fields(cls)}
        for odd in sorted(known ^ set(table)):
            why = "is missing" if odd in known else f"is unknown: {nearest(odd, known)}"
            raise LeaderboardError(f"{path}: field {odd!r} {why}")
        for name, value in table.items():
            if not isinstance(value, str):
                raise LeaderboardError(f"{path}: {name} is {value!r}, not a text")
        if table["information"] not in ("online", "clairvoyant"):
            raise LeaderboardError(
                f"{path}: information is {table['information']!r}, not 'online' or 'clairvoyant'"
            )
        return cls(**table)


def hardware() -> str:
    """This machine in a few words."""
    return f"{platform.machine()} {platform.system()}, Python {platform.python_version()}"


def record_path(folder: Path, suite: Suite, seed: int) -> Path:
    """Where a submission keeps the record of a suite's seed."""
    return folder / f"{suite.name}-{seed}.npz"


def submissions(board: Path) -> list[Path]:
    """The submissions of a leaderboard: its folders that hold a ``submission.toml``.

    Raises:
        LeaderboardError: there is none.
    """
    found = sorted(path.parent for path in board.glob(f"*/{FILE}"))
    if not found:
        raise LeaderboardError(
            f"{board}: no submission here (FOLDER/{FILE}); `fleetgym leaderboard run {board}` "
            "plays the baselines"
        )
    return found
