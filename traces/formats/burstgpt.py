"""Reader of BurstGPT (KDD'25): four months of calls to ChatGPT and GPT-4 on a campus, CSV.

Columns ``Timestamp,[Session ID,Elapsed time,]Model,Request tokens,Response tokens,Total tokens,
Log Type``, of which both schemas share those read here: seconds from midnight of the first day, and
tokens. A failed call has no response tokens, and so is dropped. Sessions are not made programs: the
trace says when each of their calls came, not what it waited for.
"""

from pathlib import Path

from fleetgym.traces.formats.serving_columns import SECONDS, TOKENS, Requests, read_columns
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema_serving import ServingTrace

_COLUMNS = {"Timestamp": SECONDS, "Request tokens": TOKENS, "Response tokens": TOKENS}


def read(path: str | Path) -> tuple[ServingTrace, ReadReport]:
    """The requests of a file, and what was dropped and repaired, as `Requests.serving` says.

    Args:
        path: ``.csv`` or ``.csv.gz``.

    Raises:
        TraceError: the file is not found, cut off or malformed, or holds no request.
    """
    trace, report, _ = Requests(*read_columns(path, _COLUMNS).values()).serving(path)
    return trace.validate(), report
