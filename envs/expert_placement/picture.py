"""The picture of a server: a panel a layer, a bar a GPU, a segment a replica."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fleetgym.envs.expert_placement.bars import SHOWN, Layer, Segment, Server, heading

Colour = tuple[int, int, int]

WIDTH, MARGIN, HEADER = 1_280, 24, 96  # px
PANEL, GAP = 200, 40  # px: height of a layer's bars, and above them
TALL = 480  # px, of the bars of few layers together
PAPER: Colour = (250, 250, 248)
INK: Colour = (28, 32, 40)
GREY: Colour = (120, 126, 136)
NODE: Colour = (228, 231, 236)
MEAN: Colour = (214, 66, 48)
ONLY: tuple[Colour, Colour] = ((206, 220, 238), (44, 92, 160))  # lightest to heaviest
SEVERAL: tuple[Colour, Colour] = ((216, 202, 236), (104, 58, 150))
NEW: Colour = (255, 176, 0)


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _shape(server: Server) -> tuple[int, int, int]:
    """Columns and rows of panels, and the height of a panel's bars."""
    shown = min(SHOWN, server.scenario.layers)
    columns = 1 if shown == 1 else 2 if shown <= 6 or server.scenario.gpus > 48 else 3
    rows = -(-shown // columns)
    return columns, rows, max(90, min(PANEL, TALL // rows))


def draw(server: Server) -> NDArray[np.uint8]:
    """The picture, ``(H, W, 3)``."""
    columns, rows, height = _shape(server)
    image = Image.new("RGB", (WIDTH, HEADER + rows * (height + GAP) + MARGIN), PAPER)
    pen = ImageDraw.Draw(image)
    for i, line in enumerate(heading(server)):
        pen.text((MARGIN, 14 + 22 * i), line, INK if i == 0 else GREY, _font(15))
    _legend(pen)
    width = (WIDTH - 2 * MARGIN - (columns - 1) * MARGIN) / columns
    for i, layer in enumerate(server.layers):
        row, column = divmod(i, columns)
        left = MARGIN + column * (width + MARGIN)
        top = HEADER + row * (height + GAP) + GAP
        _panel(pen, server, layer, (left, top, width, height))
    return np.asarray(image, np.uint8)


def _legend(pen: ImageDraw.ImageDraw) -> None:
    x = float(MARGIN)
    for colour, text in (
        (ONLY[1], "only replica"),
        (SEVERAL[1], "one of several"),
        (NEW, "to be copied in"),
        (MEAN, "mean over GPUs"),
    ):
        pen.rectangle((x, 66, x + 14, 80), colour)
        pen.text((x + 20, 64), text, GREY, _font(14))
        x += 40 + pen.textlength(text, _font(14))


def _panel(
    pen: ImageDraw.ImageDraw, server: Server, layer: Layer, box: tuple[float, float, float, float]
) -> None:
    """One layer: nodes shaded in turn, a bar for each GPU, the mean as a line."""
    left, top, width, height = box
    colour = MEAN if layer.number == server.chosen else INK
    title = f"layer {layer.number}   mean / max {layer.balancedness:.3f}"
    pen.text((left, top - 24), title, colour, _font(14))
    gpus, nodes = server.scenario.gpus, server.scenario.nodes
    for node in range(0, nodes, 2):
        side = left + width * node / nodes
        pen.rectangle((side, top, side + width / nodes, top + height), NODE)
    heaviest = max(segment.tokens for stack in layer.stacks for segment in stack)
    pitch, unit = width / gpus, height / layer.fullest
    for g, stack in enumerate(layer.stacks):
        base = top + height
        for segment in stack:
            high = segment.tokens * unit
            edges = (left + g * pitch + 0.1 * pitch, base - high, left + (g + 0.9) * pitch, base)
            _segment(pen, segment, edges, heaviest)
            base -= high
    line = top + height - layer.mean * unit
    pen.line((left, line, left + width, line), MEAN, 2)


def _segment(
    pen: ImageDraw.ImageDraw,
    segment: Segment,
    edges: tuple[float, float, float, float],
    heaviest: float,
) -> None:
    """One replica, with its expert's number where there is room."""
    x0, y0, x1, y1 = edges
    if y1 - y0 < 1:
        return
    light, dark = SEVERAL if segment.several else ONLY
    part = segment.tokens / heaviest
    shades = [round(a + (b - a) * part) for a, b in zip(light, dark, strict=True)]
    fill = NEW if segment.moved else (shades[0], shades[1], shades[2])
    pen.rectangle((x0, y0, x1, y1), fill, PAPER if y1 - y0 >= 3 else None)
    name = f"{segment.expert}"
    if y1 - y0 >= 13 and x1 - x0 >= 4 + pen.textlength(name, _font(11)):
        ink = PAPER if part > 0.45 and not segment.moved else INK
        pen.text(((x0 + x1) / 2, (y0 + y1) / 2), name, ink, _font(11), "mm")
