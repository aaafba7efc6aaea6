"""The picture of a world: a bar an instance, its KV blocks by who holds them, and its queue."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fleetgym.envs.request_preemption.pool import Board, Pool, Queued, heading, waits

Colour = tuple[int, int, int]

FINE = 2  # drawn this much larger, then reduced: smooth letters
MARGIN, HEADER, LABEL, WIDTH = 32, 150, 116, 1_280  # px
BAR, QUEUE = WIDTH - LABEL - 2 * MARGIN, 18  # px: width of a pool, height of its queue
TALL, LOW, GAP = 56, 20, 16  # px: height of a pool of few and of many instances, space below

PAPER: Colour = (250, 250, 248)
INK: Colour = (28, 32, 40)
GREY: Colour = (120, 126, 136)
LINE: Colour = (214, 217, 222)
ACCENT: Colour = (255, 176, 0)
COLOURS: dict[str, Colour] = {
    "decode": (74, 126, 196),
    "prefill": (140, 190, 236),
    "leaving": (226, 110, 74),
    "coming": (246, 186, 120),
    "moving": (170, 120, 200),
    "pinned": (236, 206, 92),
    "shared": (104, 168, 140),
    "cached": (190, 222, 204),
    "free": (236, 238, 240),
}
IN_TIME: Colour = (120, 178, 110)  # queued; towards LATE as its target comes near
LATE: Colour = (206, 62, 52)
BEGUN: Colour = (150, 156, 166)  # preempted: its first token is out


class Canvas:
    """Boxes and letters in px of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * FINE, height * FINE), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def box(
        self, left: float, top: float, width: float, height: float, colour: Colour
    ) -> tuple[float, float]:
        """A filled rectangle, parted from its right neighbour where it is wide; its middle."""
        right = left + width - (1 if width > 4 else 0)
        sides = [round(FINE * side) for side in (left, top, right, top + height)]
        if sides[2] > sides[0]:
            self.pen.rectangle((sides[0], sides[1], sides[2] - 1, sides[3] - 1), colour)
        return (left + right) / 2, top + height / 2

    def text(
        self, at: tuple[float, float], text: str, size: float, colour: Colour, anchor: str = "la"
    ) -> float:
        """Writes a line and returns where it ends."""
        font = _font(round(size * FINE))
        self.pen.text((at[0] * FINE, at[1] * FINE), text, colour, font, anchor)
        return at[0] + self.pen.textlength(text, font) / FINE

    def label(self, at: tuple[float, float], text: str, room: float, colour: Colour) -> None:
        """A word around a point, where it has room."""
        if 7 * len(text) + 2 < room:
            self.text(at, text, 11, colour, "mm")

    def finished(self) -> NDArray[np.uint8]:
        """The picture, ``(H, W, 3)``."""
        return np.array(self.image.reduce(FINE), np.uint8)


def draw(board: Board) -> NDArray[np.uint8]:
    """The picture of a world, ``(H, W, 3)``."""
    tall = TALL if len(board.pools) <= 6 else LOW
    pitch = tall + QUEUE + GAP
    canvas = Canvas(WIDTH, HEADER + pitch * len(board.pools) + MARGIN // 2)
    _draw_header(canvas, board)
    for i, pool in enumerate(board.pools):
        _draw_pool(canvas, board, i, HEADER + pitch * i, tall)
        _draw_queue(canvas, board, pool, HEADER + pitch * i + tall + 2)
    return canvas.finished()


def _draw_header(canvas: Canvas, board: Board) -> None:
    end = canvas.text((MARGIN, 18), "Request preemption", 24, INK)
    canvas.text((end + 14, 27), heading(board), 15, GREY)
    m, at = board.metrics, float(MARGIN)
    for name, value in (
        ("time", f"{board.seconds:,.2f} s"),
        ("arrived", f"{board.arrived} of {board.firsts}"),
        ("outside", f"{board.outside}"),
        ("finished", f"{m['finished']:.0f}"),
        ("preemptions", f"{m['preemptions']:.0f}"),
        ("TTFT p99", f"{m['ttft_p99_s']:.2f} s"),
        ("TBT p99", f"{m['tbt_p99_s']:.3f} s"),
        ("asked", board.asked),
    ):
        canvas.text((at, 56), name, 12, GREY)
        at = max(canvas.text((at, 72), value, 18, INK), at + 64) + 26
    canvas.box(MARGIN, 104, WIDTH - 2 * MARGIN, 1, LINE)
    at = MARGIN
    entries = {**COLOURS, "queued": IN_TIME, "late": LATE, "begun": BEGUN}
    for name, colour in entries.items():
        canvas.box(at, 117, 16, 12, colour)
        at = canvas.text((at + 21, 116), name, 12, INK) + 16


def _draw_pool(canvas: Canvas, board: Board, i: int, top: float, tall: float) -> None:
    """The blocks of an instance; the accent says who is asked."""
    pool, left = board.pools[i], float(MARGIN + LABEL)
    if pool.asked:
        canvas.box(left - 8, top, 5, tall, ACCENT)
    canvas.text((MARGIN, top), f"instance {i}", 13, INK)
    seats = f"{pool.running} / {board.scenario.max_num_seqs} run"
    if tall == TALL:
        canvas.text((MARGIN, top + 17), pool.mode, 12, GREY)
        canvas.text((MARGIN, top + 32), seats, 12, GREY)
    unit = BAR / board.scenario.kv_blocks
    for segment in pool.segments:
        width = segment.blocks * unit
        middle = canvas.box(left, top, width, tall, COLOURS[segment.kind])
        name = str(segment.row) if segment.row >= 0 else f"{segment.blocks:,}"
        canvas.label(middle, name, width, PAPER if segment.kind == "decode" else INK)
        left += width


def _draw_queue(canvas: Canvas, board: Board, pool: Pool, top: float) -> None:
    """Who waits, on the same scale: as wide as the blocks until the next token."""
    left, unit = float(MARGIN + LABEL), BAR / board.scenario.kv_blocks
    canvas.text((MARGIN, top + 3), f"queue {len(pool.queue)}", 12, GREY)
    for n, queued in enumerate(pool.queue):
        width = max(5.0, queued.blocks * unit)
        if left + width > WIDTH - MARGIN:
            canvas.text((WIDTH - MARGIN + 2, top + 3), f"+{len(pool.queue) - n}", 11, INK)
            break
        middle = canvas.box(left, top, width, QUEUE, _urgency(queued))
        canvas.label(middle, waits(queued), width, PAPER)
        left += width


def _urgency(queued: Queued) -> Colour:
    if queued.late == 0 and (queued.swapped or queued.preempted):
        return BEGUN
    first, last = np.array(IN_TIME), np.array(LATE)
    share = min(1.0, queued.late)
    red, green, blue = np.rint(first + share * (last - first)).astype(int).tolist()
    return red, green, blue


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
