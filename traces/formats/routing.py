"""Reader of routing traces ``[token][layer][k]``: expert numbers in router order, JSON.

The numbers stand alone, or as ``selections`` of an object that may also say ``expertsPerLayer``,
``layers``, ``tokens`` and ``topK``. Such files have hundreds of MB, so their numbers are never made
into Python objects: the text is parsed in blocks by array operations.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError
from fleetgym.traces.reading import read_bytes
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema_routing import MAX_EXPERTS, Routing, single_tokens

Int64 = NDArray[np.int64]

_BLOCK = 1 << 18  # bytes parsed at a time
_HEAD = 1 << 20  # bytes in which the selections must begin
_DEPTH = 3
_DIGITS = 5  # of an expert's number, at most
_SELECTIONS = re.compile(rb'"selections"\s*:\s*(?=\[)')
_ALLOWED = np.zeros(256, np.bool_)
_ALLOWED[list(b"0123456789[], \t\r\n")] = True
_SPACE = np.zeros(256, np.bool_)
_SPACE[list(b" \t\r\n")] = True


def read(path: str | Path, num_experts: int | None = None) -> Routing:
    """The routing of a file.

    Args:
        path: ``.json`` or ``.json.gz``.
        num_experts: E, where the file does not say it; else the largest number seen plus one.

    Raises:
        TraceError: not found, cut off, not JSON, empty, shapes that change midway, or an expert
            out of range; the message says at which token and layer.
    """
    return read_with_report(path, num_experts)[0]


def read_with_report(
    path: str | Path, num_experts: int | None = None
) -> tuple[Routing, ReadReport]:
    """The routing of a file, and what was kept. Raises as `read`."""
    content = read_bytes(path)
    bare = content[:64].lstrip()[:1] == b"["
    found = None if bare else _SELECTIONS.search(content, 0, _HEAD)
    if not bare and found is None:
        raise TraceError(
            f"{path}: no list of tokens, and no 'selections' in the first {_HEAD} bytes; expected "
            "[token][layer][k], or an object with such 'selections'"
        )
    start = found.end() if found else content.index(b"[")
    parser = _Parser(path, start)
    end = parser.parse(content)
    experts = parser.array()
    said = _said(path, b"" if bare else content[:start] + b"0" + content[end:], content[end:], bare)
    for name, seen in zip(("tokens", "layers", "topK"), experts.shape, strict=True):
        if name in said and said[name] != seen:
            raise TraceError(f"{path}: it says {name} {said[name]}, but holds {seen}")
    e = num_experts or said.get("expertsPerLayer") or int(experts.max()) + 1
    name = Path(path).name.split(".")[0]
    routing = single_tokens(name, e, experts, np.zeros((0, 0, 0), np.uint16))
    shape = " x ".join(map(str, experts.shape))
    return routing, ReadReport(str(path), (f"{shape} (tokens x layers x k), {e} experts",))


def _said(path: str | Path, document: bytes, rest: bytes, bare: bool) -> dict[str, int]:
    """The whole numbers that the object around the selections declares."""
    if bare:
        if rest.strip():
            raise TraceError(f"{path}: not JSON: {rest[:20]!r} follows the list of tokens")
        return {}
    try:
        said = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: not JSON, or cut off, around 'selections' ({error})") from error
    return {name: value for name, value in said.items() if type(value) is int and value > 0}


@dataclass
class _Parser:
    """Goes through the text in blocks; keeps numbers, and where lists and tokens end."""

    path: str | Path
    start: int  # byte at which the list of tokens begins
    numbers: list[NDArray[np.int16]] = field(default_factory=list)
    list_ends: list[Int64] = field(default_factory=list)  # numbers before the end of each list
    token_ends: list[Int64] = field(default_factory=list)  # lists before the end of each token
    depth: int = 0
    count: int = 0  # numbers so far
    lists: int = 0
    commas: Int64 = field(default_factory=lambda: np.zeros(_DEPTH + 1, np.int64))  # by depth

    def parse(self, content: bytes) -> int:
        """Parses up to the end of the outermost list; returns the byte after it."""
        at = self.start
        while at < len(content):
            cut = min(at + _BLOCK, len(content))
            while cut < len(content) and content[cut - 1 : cut].isdigit():
                cut -= 1  # no number is cut in two
            block = np.frombuffer(content, np.uint8, cut - at, at)
            opens, closes = block == ord("["), block == ord("]")
            depth = self.depth + np.cumsum(opens.astype(np.int32) - closes)
            over = np.flatnonzero(depth == 0)
            size = int(over[0]) + 1 if len(over) else len(block)
            self._take(block[:size], closes[:size], depth[:size], at)
            if len(over):
                return at + size
            self.depth, at = int(depth[-1]), cut
        raise TraceError(
            f"{self.path}: cut off after {len(content)} bytes, in token {len(self._tokens())}"
        )

    def _take(
        self, block: NDArray[np.uint8], closes: NDArray[np.bool_], depth: NDArray[np.int32], at: int
    ) -> None:
        odd = np.flatnonzero(~_ALLOWED[block] | (depth > _DEPTH))
        if len(odd):
            raise TraceError(
                f"{self.path}: byte {at + int(odd[0])}: {chr(block[odd[0]])!r} in the selections; "
                "expected whole numbers in lists [token][layer][k]"
            )
        digit = (block >= ord("0")) & (block <= ord("9"))
        starts, lengths = _runs(digit)
        if len(lengths) and (lengths.max() > _DIGITS or (depth[starts] != _DEPTH).any()):
            first = int(starts[(lengths > _DIGITS) | (depth[starts] != _DEPTH)][0])
            raise TraceError(
                f"{self.path}: byte {at + first}: a number too large for an expert, or not in a "
                "list [token][layer][k]"
            )
        values = _values(block, starts, lengths)
        if len(values) and values.max() > MAX_EXPERTS:
            raise TraceError(f"{self.path}: expert {values.max()}; at most {MAX_EXPERTS} are read")
        self.numbers.append(values.astype(np.int16))
        list_ends = np.flatnonzero(closes & (depth == _DEPTH - 1))
        token_ends = np.flatnonzero(closes & (depth == _DEPTH - 2))
        self.list_ends.append(self.count + np.searchsorted(starts, list_ends))
        self.token_ends.append(self.lists + np.searchsorted(list_ends, token_ends))
        self.count += len(starts)
        self.lists += len(list_ends)
        self.commas += np.bincount(depth[block == ord(",")], minlength=_DEPTH + 1)

    def _tokens(self) -> Int64:
        return np.concatenate([*self.token_ends, np.zeros(0, np.int64)])

    def array(self) -> NDArray[np.int16]:
        """All numbers, ``(T, L, K)``, once it is clear that there are as many everywhere."""
        token_ends, list_ends = self._tokens(), np.concatenate(self.list_ends)
        layers, k = np.diff(token_ends, prepend=0), np.diff(list_ends, prepend=0)
        if not len(layers) or not self.count or layers[0] == 0 or k[0] == 0:
            raise TraceError(f"{self.path}: the trace is empty: it holds no routed token")
        if (layers != layers[0]).any():
            token = int(np.argmax(layers != layers[0]))
            raise TraceError(
                f"{self.path}: token {token} has {layers[token]} layers, those before {layers[0]}"
            )
        if (k != k[0]).any():
            token, layer = divmod(int(np.argmax(k != k[0])), int(layers[0]))
            raise TraceError(
                f"{self.path}: token {token}, layer {layer} has {k[token * layers[0] + layer]} "
                f"experts, those before {k[0]}"
            )
        shape = (len(layers), int(layers[0]), int(k[0]))
        due = [0, shape[0] - 1, shape[0] * (shape[1] - 1), shape[0] * shape[1] * (shape[2] - 1)]
        if self.commas.tolist() != due:
            raise TraceError(f"{self.path}: not JSON: commas are missing, or too many")
        return np.concatenate(self.numbers).reshape(shape)


def _runs(mask: NDArray[np.bool_]) -> tuple[Int64, Int64]:
    """Where runs of True begin, and how long they are."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return edges[::2], edges[1::2] - edges[::2]


def _values(block: NDArray[np.uint8], starts: Int64, lengths: Int64) -> NDArray[np.int32]:
    """The numbers of runs of digits."""
    values = np.zeros(len(starts), np.int32)
    for i in range(int(lengths.max(initial=0))):
        longer = lengths > i
        digit = block[starts[longer] + i].astype(np.int32) - ord("0")
        values[longer] = values[longer] * 10 + digit
    return values
