import pytest

TINY = """
[tiny]
id = "vm-rescheduling"
scenario = "toy"
workload = "toy"
seeds = [0, 2]
seconds = 1.0
metric = "fragment_rate"
bound = "fleetgym.baselines.vm_rescheduling.exact:solve"
bound_policy = "exact"
reference = "greedy"
heuristics = ["greedy", "ha"]
"""


@pytest.fixture
def suite_file(tmp_path):
    """Writes a suite file of one toy suite, with lines replaced."""

    def write(replacements=None, extra=""):
        text = TINY
        for old, new in (replacements or {}).items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "suite.toml"
        path.write_text(text + extra)
        return path

    return write
