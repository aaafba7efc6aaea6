"""The picture of an expert cache: three lanes over time, and the slots of the layer below."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fleetgym.envs.expert_cache.timeline import FORGOTTEN, KINDS, LANE_NAMES, Slot, Timeline
from fleetgym.envs.expert_cache.types import FETCHED, HIT, LOADED, MISSING, STREAMED

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom

WIDTH, MARGIN = 1_200, 36  # px
LANES_TOP, LANE, LANE_GAP, NAME = 150, 54, 18, 56
CELL, CELL_GAP, COLUMNS = 46, 6, 20  # of slots

PAPER: Colour = (250, 250, 248)
INK: Colour = (28, 32, 40)
GREY: Colour = (120, 126, 136)
LINE: Colour = (226, 228, 232)
ACCENT: Colour = (255, 176, 0)
COLOURS: dict[int, Colour] = {
    HIT: (88, 172, 108),
    MISSING: (226, 74, 51),
    LOADED: (66, 118, 190),
    STREAMED: (150, 178, 216),
    FETCHED: (146, 98, 186),
}


def draw(shown: Timeline) -> NDArray[np.uint8]:
    """The picture, ``(H, W, 3)``."""
    slots_top = LANES_TOP + 3 * (LANE + LANE_GAP) + 128
    rows = -(-len(shown.slots) // COLUMNS)
    height = slots_top + rows * (CELL + CELL_GAP) + 56
    image = Image.new("RGB", (WIDTH, height), PAPER)
    pen = ImageDraw.Draw(image)
    _draw_header(pen, shown)
    _draw_lanes(pen, shown)
    _draw_requests(pen, shown, slots_top - 100)
    _draw_slots(pen, shown.slots, slots_top)
    return np.array(image, np.uint8)


def _draw_header(pen: ImageDraw.ImageDraw, shown: Timeline) -> None:
    end = _text(pen, (MARGIN, 20), "Expert cache", 22, INK)
    _text(pen, (end + 14, 27), shown.title, 14, GREY)
    at: float = MARGIN
    for name, value in shown.facts:
        _text(pen, (at, 60), name, 12, GREY)
        at = max(_text(pen, (at, 76), value, 22, INK), at + 84) + 28
    at = MARGIN + NAME
    for kind, name in KINDS.items():
        pen.rectangle((at, 122, at + 14, 134), COLOURS[kind])
        at = _text(pen, (at + 20, 121), name, 12, INK) + 22


def _draw_lanes(pen: ImageDraw.ImageDraw, shown: Timeline) -> None:
    left, right = MARGIN + NAME, WIDTH - MARGIN
    per_ns = (right - left) / (shown.end - shown.begin)
    for i, (lane, name) in enumerate(LANE_NAMES.items()):
        top = LANES_TOP + i * (LANE + LANE_GAP)
        _text(pen, (MARGIN, top + 18), name, 15, INK)
        pen.rectangle((left, top, right, top + LANE), LINE)
        for task in shown.tasks:
            if task.lane == lane:
                start = max(left, left + (task.start - shown.begin) * per_ns)
                end = min(right, left + (task.end - shown.begin) * per_ns)
                _draw_task(pen, (start, top, end, top + LANE), task.expert, COLOURS[task.kind])
    below = LANES_TOP + 3 * (LANE + LANE_GAP) - 10
    _text(pen, (left, below), f"{shown.begin / 1e6:.2f} ms", 12, GREY)
    last = f"{shown.end / 1e6:.2f} ms"
    if shown.queued:
        last = f"{shown.queued / 1e6:.2f} ms of copies are queued beyond   {last}"
    pen.text((right, below), last, GREY, _font(12), "ra")


def _draw_task(pen: ImageDraw.ImageDraw, box: Box, expert: int, colour: Colour) -> None:
    """A box with the expert's number, where there is room."""
    left, top, right, bottom = box
    pen.rectangle((left, top, max(left + 1, right - 1), bottom), colour)
    if expert != FORGOTTEN and right - left > 9 * len(str(expert)):
        pen.text(((left + right) / 2, (top + bottom) / 2), str(expert), PAPER, _font(13), "mm")


def _draw_requests(pen: ImageDraw.ImageDraw, shown: Timeline, top: float) -> None:
    """The event's experts in router order: hits and misses, the one to be decided marked."""
    _text(pen, (MARGIN, top), shown.question, 16, INK)
    at: float = MARGIN + NAME
    _text(pen, (MARGIN, top + 36), "asked", 13, GREY)
    for rank, (expert, hit) in enumerate(shown.requests[: 2 * COLUMNS]):
        box = (at, top + 28, at + 26, top + 56)
        pen.rectangle(box, COLOURS[HIT if hit else MISSING])
        if rank == shown.rank:
            pen.rectangle((at - 3, top + 25, at + 29, top + 59), None, ACCENT, 3)
        pen.text((at + 13, top + 42), str(expert), PAPER, _font(13), "mm")
        at += 34 if len(shown.requests) <= COLUMNS else 27
    _text(pen, (MARGIN, top + 74), f"slots of layer {shown.layer}", 13, GREY)
    _text(
        pen, (MARGIN + 130, top + 74),
        "green: asked for now; blue edge: copy in flight; grey: written by this event", 12, GREY,
    )  # fmt: skip


def _draw_slots(pen: ImageDraw.ImageDraw, slots: tuple[Slot, ...], top: float) -> None:
    for j, slot in enumerate(slots):
        row, column = divmod(j, COLUMNS)
        left = MARGIN + column * (CELL + CELL_GAP)
        upper = top + row * (CELL + CELL_GAP)
        ground = COLOURS[HIT] if slot.requested else PAPER if slot.open else LINE
        edge = COLOURS[LOADED] if slot.in_flight else GREY
        box = (left, upper, left + CELL, upper + CELL)
        pen.rectangle(box, ground, edge, 3 if slot.in_flight else 1)
        ink = PAPER if slot.requested else INK
        pen.text((left + CELL / 2, upper + CELL / 2), str(slot.expert), ink, _font(16), "mm")


def _text(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, colour: Colour
) -> float:
    """Writes a line and returns where it ends."""
    pen.text(at, text, colour, _font(size))
    return at[0] + pen.textlength(text, _font(size))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
