"""Files a command writes: whole or not at all."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from fleetgym.scripts.errors import CommandError


def write(path: Path, content: str | bytes) -> Path:
    """Writes to a temporary file beside the target, then renames it.

    Raises:
        CommandError: the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(part).chmod(0o644)
            Path(part).replace(path)
        finally:
            Path(part).unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def write_json(path: Path, value: Any) -> Path:
    """Writes a value as indented JSON.

    Raises:
        CommandError: the folder cannot be written.
    """
    return write(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        CommandError: the file is not there or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: not a readable JSON file: {error}") from error
