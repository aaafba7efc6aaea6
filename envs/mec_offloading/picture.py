"""The picture of an offloading world: a map with what is on the air, and a Gantt chart."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fleetgym.envs.mec_offloading.chart import SHOWN, Chart

Colour = tuple[int, int, int]

WIDTH, MARGIN = 1_200, 36  # px
TOP, MAP, NAME, LANE = 140, 420, 60, 22

PAPER: Colour = (250, 250, 248)
INK: Colour = (28, 32, 40)
GREY: Colour = (120, 126, 136)
LINE: Colour = (226, 228, 232)
CELL: Colour = (206, 216, 232)
UP: Colour = (226, 120, 51)
DOWN: Colour = (66, 118, 190)
COLOURS: tuple[Colour, ...] = (
    (66, 118, 190),
    (88, 172, 108),
    (226, 74, 51),
    (146, 98, 186),
    (255, 176, 0),
    (60, 170, 180),
    (190, 90, 130),
    (130, 110, 80),
)


def draw(shown: Chart) -> NDArray[np.uint8]:
    """The picture, ``(H, W, 3)``."""
    height = TOP + max(MAP, SHOWN * LANE) + 48
    image = Image.new("RGB", (WIDTH, height), PAPER)
    pen = ImageDraw.Draw(image)
    _draw_header(pen, shown)
    place = Image.new("RGB", (MAP, MAP), PAPER)
    _draw_map(ImageDraw.Draw(place), shown)
    image.paste(place, (MARGIN, TOP))
    _draw_lanes(pen, shown)
    return np.array(image, np.uint8)


def _draw_header(pen: ImageDraw.ImageDraw, shown: Chart) -> None:
    end = _text(pen, (MARGIN, 20), "Offloading", 22, INK)
    _text(pen, (end + 14, 27), shown.title, 14, GREY)
    at: float = MARGIN
    for name, value in shown.facts:
        _text(pen, (at, 56), name, 12, GREY)
        at = max(_text(pen, (at, 72), value, 20, INK), at + 84) + 28
    _text(pen, (MARGIN, 106), shown.question, 15, INK)


def _draw_map(pen: ImageDraw.ImageDraw, shown: Chart) -> None:
    pen.rectangle((0, 0, MAP - 1, MAP - 1), PAPER, LINE)
    if not shown.side:
        return
    scale, inset = (MAP - 40) / shown.side, 20

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return inset + point[0] * scale, MAP - inset - point[1] * scale

    for server, radius in zip(shown.servers, shown.radius, strict=True):
        x, y = at(server)
        reach = radius * scale
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), None, CELL, 3)
    for one in shown.air:
        ends = (at(shown.devices[one.device]), at(shown.servers[one.server]))
        pen.line(ends, UP if one.up else DOWN, 2)
    for k, server in enumerate(shown.servers):
        x, y = at(server)
        pen.rectangle((x - 8, y - 8, x + 8, y + 8), INK)
        pen.text((x, y), str(k), PAPER, _font(11), "mm")
    for u, device in enumerate(shown.devices):
        x, y = at(device)
        pen.ellipse((x - 7, y - 7, x + 7, y + 7), COLOURS[u % len(COLOURS)])
        pen.text((x, y), str(u), PAPER, _font(10), "mm")


def _draw_lanes(pen: ImageDraw.ImageDraw, shown: Chart) -> None:
    """Work over time; a bar has the colour of its device, and its task's number where it fits."""
    left, right = MARGIN + MAP + 30 + NAME, WIDTH - MARGIN - 30
    per_ns = (right - left) / shown.end
    for k, lane in enumerate(shown.lanes):
        top = TOP + k * LANE
        _text(pen, (left - NAME, top + 2), lane.name, 12, INK)
        pen.rectangle((left, top, right, top + LANE - 5), LINE)
        for bar in lane.bars:
            first = left + bar.start * per_ns
            last = max(first + 1, left + bar.end * per_ns - 1)
            pen.rectangle((first, top, last, top + LANE - 5), COLOURS[bar.device % len(COLOURS)])
            if last - first > 9 * len(str(bar.slot)):
                middle = ((first + last) / 2, top + (LANE - 5) / 2)
                pen.text(middle, str(bar.slot), PAPER, _font(11), "mm")
        if lane.waiting:
            _text(pen, (right + 5, top + 2), f"+{lane.waiting}", 12, GREY)
    below = TOP + len(shown.lanes) * LANE
    now = left + shown.now * per_ns
    pen.line((now, TOP - 4, now, below), INK, 1)
    _text(pen, (left, below + 2), "0", 12, GREY)
    pen.text((right, below + 2), f"{shown.end / 1e9:.3f} s", GREY, _font(12), "ra")


def _text(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, colour: Colour
) -> float:
    """Writes a line and returns where it ends."""
    pen.text(at, text, colour, _font(size))
    return at[0] + pen.textlength(text, _font(size))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
