"""Reader of the request traces of Vidur (MLSys'24) and of Splitwise's simulator (ISCA'24), CSV.

Vidur's columns are ``arrived_at,num_prefill_tokens,num_decode_tokens``, Splitwise's
``arrival_timestamp,prompt_size,token_size``: seconds and tokens. Others are not read.
"""

from pathlib import Path

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.serving_columns import SECONDS, TOKENS, Requests, header, read_columns
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema_serving import ServingTrace

_SPELLINGS = (
    ("arrived_at", "arrival_timestamp"),
    ("num_prefill_tokens", "prompt_size"),
    ("num_decode_tokens", "token_size"),
)
_KINDS = (SECONDS, TOKENS, TOKENS)


def read(path: str | Path) -> tuple[ServingTrace, ReadReport]:
    """The requests of a file, and what was dropped and repaired, as `Requests.serving` says.

    Args:
        path: ``.csv`` or ``.csv.gz``.

    Raises:
        TraceError: the file is not found, cut off or malformed, or holds no request.
    """
    names = header(path)[1]
    chosen = [[name for name in spellings if name in names] for spellings in _SPELLINGS]
    for found, spellings in zip(chosen, _SPELLINGS, strict=True):
        if len(found) != 1:
            raise TraceError(
                f"{path}: expected one of the columns {' and '.join(spellings)}; it has {names}"
            )
    columns = {found[0]: kind for found, kind in zip(chosen, _KINDS, strict=True)}
    trace, report, _ = Requests(*read_columns(path, columns).values()).serving(path)
    return trace.validate(), report
