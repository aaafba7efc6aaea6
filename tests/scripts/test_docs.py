"""Pages made from code are those in the folder."""

from fleetgym.envs.hardware import gpu
from fleetgym.scripts.docs import DOCS, hardware_page


def test_the_page_of_hardware_is_made_from_what_is_fitted():
    found = (DOCS / "hardware.md").read_text(encoding="utf-8")
    assert found == hardware_page(), "run python -m fleetgym.scripts.docs"
    rows = [line for line in found.splitlines() if line.startswith("| `")]
    assert len(rows) == len(gpu.calibrations())
    (default,) = (row for row in rows if row.startswith("| `llama-3-8b` | `a100` | 1 |"))
    assert f"{gpu.calibrations()['llama-3-8b', 'a100', 1].decode_error_percent:.1f}%" in default
