"""Reader of the Azure LLM inference traces of 2023 (Splitwise, ISCA'24) and 2024 (DynamoLLM), CSV.

Columns ``TIMESTAMP,ContextTokens,GeneratedTokens``: date and time to 100 ns, in 2024 with a time
zone, and tokens. The earliest time becomes 0. The trace names no clients, programs or prefixes.
"""

from pathlib import Path

from fleetgym.traces.formats.serving_columns import INSTANT, TOKENS, Requests, read_columns
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema_serving import ServingTrace

_COLUMNS = {"TIMESTAMP": INSTANT, "ContextTokens": TOKENS, "GeneratedTokens": TOKENS}


def read(path: str | Path) -> tuple[ServingTrace, ReadReport]:
    """The requests of a file, and what was dropped and repaired, as `Requests.serving` says.

    Args:
        path: ``.csv`` or ``.csv.gz``.

    Raises:
        TraceError: the file is not found, cut off or malformed, or holds no request.
    """
    time, prompt, output = read_columns(path, _COLUMNS).values()
    trace, report, _ = Requests(time - time.min(initial=2**62), prompt, output).serving(path)
    return trace.validate(), report
