"""The picture of a fleet: machines in rows, each two columns (its NUMA nodes) of stacked VMs."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fleetgym.envs.vm_rescheduling.stacks import Block, Fleet, clock, place_name

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom

FINE = 2  # drawn this much larger, then reduced: smooth lines and letters
MARGIN, HEADER, LABEL = 40, 164, 20  # px: around, above, under each row
BODY_WIDTH, BODY_HEIGHT, LEAST_WIDTH = 1_520, 860, 1_080  # px

PAPER: Colour = (250, 250, 248)
INK: Colour = (28, 32, 40)
GREY: Colour = (120, 126, 136)
LINE: Colour = (214, 217, 222)
SINGLE: tuple[Colour, Colour] = ((190, 214, 240), (34, 84, 156))  # smallest to largest
DOUBLE: tuple[Colour, Colour] = ((214, 196, 234), (96, 48, 142))
PINNED: tuple[Colour, Colour] = ((206, 208, 212), (110, 114, 122))
USABLE: Colour = (208, 240, 214)
USABLE_EDGE: Colour = (88, 172, 108)
FRAGMENT: tuple[Colour, Colour] = ((226, 74, 51), (246, 160, 138))  # stripes, ground
ACCENT: Colour = (255, 176, 0)


@dataclass(frozen=True)
class Layout:
    """Where everything stands, in px."""

    columns: int
    rows: int
    node: float  # width of a NUMA node
    pitch: float  # from one machine to the next
    unit: float  # height of a core
    tallest: int  # cores of the largest node

    @classmethod
    def of(cls, cores: list[int]) -> "Layout":
        """The number of rows in which the narrower of a node's sides is longest."""
        pms, tallest = max(1, len(cores) // 2), max(1, *cores)
        options = []
        for rows in range(1, min(pms, 24) + 1):
            columns = -(-pms // rows)
            pitch = min(BODY_WIDTH / columns, 190.0)
            gap = max(2.0, 0.16 * pitch)
            node = max(1.0, np.floor((pitch - gap) / 2 * FINE) / FINE)
            height = min(BODY_HEIGHT / rows - LABEL, 16 * node, 400)
            unit = height / tallest
            unit = np.floor(unit * FINE) / FINE if unit * FINE >= 1 else unit
            score = min(10 * node, unit * tallest)
            options.append((score, -rows, cls(columns, rows, node, pitch, unit, tallest)))
        return max(options, key=lambda option: option[:2])[2]

    @property
    def width(self) -> int:
        """Of the picture."""
        return round(max(LEAST_WIDTH, self.columns * self.pitch + 2 * MARGIN))

    @property
    def height(self) -> int:
        """Of the picture."""
        return round(HEADER + self.rows * (self.unit * self.tallest + LABEL) + MARGIN / 2)

    def box(self, slot: int, bottom: float, cores: float, double: bool = False) -> Box:
        """The rectangle of some cores of a slot; ``double``: across both nodes of the machine."""
        row, column = divmod(slot // 2, self.columns)
        left = (self.width - self.columns * self.pitch) / 2 + column * self.pitch
        left += (self.pitch - 2 * self.node) / 2 + (slot % 2) * self.node
        base = HEADER + row * (self.unit * self.tallest + LABEL) + self.unit * self.tallest
        right = left + self.node * (2 if double else 1)
        return left, base - (bottom + cores) * self.unit, right, base - bottom * self.unit


class Canvas:
    """Shapes and letters in px of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * FINE, height * FINE), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def fill(self, box: Box, colour: Colour, edge: Colour | None = None) -> None:
        """A rectangle; its edge is inside, as wide as a px."""
        left, top, right, bottom = (round(FINE * side) for side in box)
        if right > left and bottom > top:
            wide = 1 if edge is None or min(right - left, bottom - top) < 12 else 2
            self.pen.rectangle((left, top, right - 1, bottom - 1), colour, edge, wide)

    def frame(self, box: Box, colour: Colour, width: float) -> None:
        """An outline around a rectangle."""
        left, top, right, bottom = (round(FINE * side) for side in box)
        wide = max(1, round(FINE * width))
        self.pen.rectangle(
            (left - wide, top - wide, right + wide - 1, bottom + wide - 1), None, colour, wide
        )

    def stripes(self, box: Box) -> None:
        """A hatched rectangle, solid where it is too small for stripes."""
        left, top, right, bottom = (round(FINE * side) for side in box)
        if right - left < 16:
            self.fill(box, FRAGMENT[0])
        elif bottom > top:
            self.image.paste(_hatch(right - left, bottom - top), (left, top))

    def text(
        self, at: tuple[float, float], text: str, size: float, colour: Colour, anchor: str = "la"
    ) -> float:
        """Writes a line and returns where it ends."""
        font = _font(round(size * FINE))
        self.pen.text((at[0] * FINE, at[1] * FINE), text, colour, font, anchor)
        return at[0] + self.pen.textlength(text, font) / FINE

    def curve(self, points: NDArray[np.float64], colour: Colour, width: float) -> None:
        """A smooth line through points ``(N, 2)``."""
        line = [(float(x), float(y)) for x, y in points * FINE]
        self.pen.line(line, colour, round(FINE * width), "curve")

    def polygon(self, points: NDArray[np.float64], colour: Colour) -> None:
        """A filled polygon ``(N, 2)``."""
        self.pen.polygon([(float(x), float(y)) for x, y in points * FINE], colour)

    def finished(self) -> NDArray[np.uint8]:
        """The picture, ``(H, W, 3)``."""
        return np.array(self.image.reduce(FINE), np.uint8)


def draw(fleet: Fleet) -> NDArray[np.uint8]:
    """The picture of a fleet, ``(H, W, 3)``."""
    layout = Layout.of(fleet.cores)
    canvas = Canvas(layout.width, layout.height)
    _draw_free(canvas, layout, fleet)
    for block in fleet.blocks:
        _draw_vm(canvas, layout, block, fleet)
    _draw_labels(canvas, layout, fleet)
    _draw_header(canvas, layout, fleet)
    _draw_migration(canvas, layout, fleet)
    return canvas.finished()


def _draw_free(canvas: Canvas, layout: Layout, fleet: Fleet) -> None:
    x = fleet.scenario.fragment_cores
    for slot, (cores, free) in enumerate(zip(fleet.cores, fleet.free, strict=True)):
        for i in range(free // x):
            canvas.fill(layout.box(slot, cores - free + i * x, x), USABLE, USABLE_EDGE)
        if free % x:
            box = layout.box(slot, cores - free % x, free % x)
            canvas.stripes(box)
            canvas.fill((box[0], box[1], box[0] + 0.5, box[3]), PAPER)
            _number(canvas, box, free % x, FRAGMENT[0], PAPER)


def _draw_vm(canvas: Canvas, layout: Layout, block: Block, fleet: Fleet) -> None:
    box = layout.box(block.slot, block.bottom, block.cores, block.double)
    scale = SINGLE if not block.double else DOUBLE
    scale = scale if block.movable else PINNED
    share = np.log2(1 + block.cores) / np.log2(1 + layout.tallest)
    colour = _between(scale, float(share))
    canvas.fill(box, colour, PAPER if layout.unit * block.cores > 2 else None)
    _number(canvas, box, block.cores, INK if share < 0.62 else PAPER, None)


def _number(canvas: Canvas, box: Box, cores: int, colour: Colour, ground: Colour | None) -> None:
    """The cores of a block, where there is room for them."""
    size = min(13.0, 0.4 * (box[2] - box[0]), 0.8 * (box[3] - box[1]))
    if size < 8:
        return
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    if ground is not None:
        wide = 0.38 * size * len(str(cores)) + 2
        canvas.fill((x - wide, y - 0.55 * size, x + wide, y + 0.55 * size), ground)
    canvas.text((x, y), str(cores), size, colour, "mm")


def _draw_labels(canvas: Canvas, layout: Layout, fleet: Fleet) -> None:
    """The number of each machine, or of the first of each few where they are narrow."""
    last = len(fleet.cores) // 2
    step = next(n for n in (1, 2, 5, 10, 20, 50, 100, last + 1) if n * layout.pitch > 26)
    for pm in range(last):
        if (pm % layout.columns) % step == 0 and any(fleet.cores[2 * pm : 2 * pm + 2]):
            left, _, right, base = layout.box(2 * pm, 0, 0, double=True)
            canvas.fill((left, base + 1, right, base + 2), LINE)
            canvas.text(((left + right) / 2, base + 4), str(pm), 10, GREY, "ma")


def _draw_header(canvas: Canvas, layout: Layout, fleet: Fleet) -> None:
    scenario = fleet.scenario
    left, right = MARGIN, layout.width - MARGIN
    end = canvas.text((left, 22), "VM rescheduling", 24, INK)
    what = f"{scenario.name}, {fleet.num_pms:,} machines, {len(fleet.blocks):,} VMs"
    canvas.text((end + 14, 31), what, 15, GREY)
    tiles = [
        ("fragment rate", f"{fleet.fragment_rate:.3f}"),
        ("moves left", f"{fleet.moves_left} of {scenario.mnl}"),
        ("time", clock(fleet.seconds)),
    ]
    if scenario.weights()[1:].any():
        tiles.insert(1, ("objective", f"{fleet.objective:.3f}"))
    at: float = left
    for name, value in tiles:
        canvas.text((at, 62), name, 12, GREY)
        at = max(canvas.text((at, 78), value, 26, INK), at + 90) + 34
    _draw_free_bar(canvas, (at, 62), right, fleet)
    canvas.fill((left, 118, right, 119), LINE)
    _draw_legend(canvas, left, fleet)


def _draw_free_bar(canvas: Canvas, at: tuple[float, float], right: float, fleet: Fleet) -> None:
    """The free cores of the fleet, usable ones first: the fragment rate to look at."""
    free, fragment = sum(fleet.free), fleet.fragment
    x = fleet.scenario.fragment_cores
    text = f"{free:,} free cores: {free - fragment:,} in slots of {x}, {fragment:,} in fragments"
    canvas.text(at, text, 12, GREY)
    split = at[0] + (right - at[0]) * ((free - fragment) / free if free else 1)
    canvas.fill((at[0], at[1] + 20, split, at[1] + 42), USABLE, USABLE_EDGE)
    canvas.stripes((split, at[1] + 20, right, at[1] + 42))


def _draw_legend(canvas: Canvas, left: float, fleet: Fleet) -> None:
    top, at = 130.0, left
    entries: list[tuple[str, Any]] = [
        ("VM, darker: more cores", SINGLE),
        ("double-NUMA VM", DOUBLE),
        (f"usable slot of {fleet.scenario.fragment_cores} cores", USABLE),
        ("fragment", FRAGMENT),
    ]
    if not all(block.movable for block in fleet.blocks):
        entries.insert(2, ("VM that may not move", PINNED))
    for text, colours in entries:
        box = (at, top, at + 22, top + 14)
        if colours is FRAGMENT:
            canvas.stripes(box)
        elif colours is USABLE:
            canvas.fill(box, USABLE, USABLE_EDGE)
        else:
            canvas.fill((at, top, at + 11, top + 14), _between(colours, 0.35))
            canvas.fill((at + 11, top, at + 22, top + 14), _between(colours, 0.9))
        at = canvas.text((at + 28, top + 1), text, 12, INK) + 20
    canvas.frame((at + 1, top + 1, at + 21, top + 13), ACCENT, 2)
    canvas.text((at + 30, top + 1), _last(fleet), 12, INK)


def _last(fleet: Fleet) -> str:
    """What the accent shows, in words."""
    move = fleet.migration
    if fleet.chosen >= 0:
        return f"VM {fleet.chosen} is to move"
    if move is None:
        return "last migration: none"
    source, target = (place_name(slot, move.double) for slot in (move.source, move.target))
    return f"last migration: VM {move.vm} from {source} to {target}"


def _draw_migration(canvas: Canvas, layout: Layout, fleet: Fleet) -> None:
    """The chosen VM, or the last migration: where from, where to, and an arrow."""
    move = fleet.migration
    by_vm = {block.vm: block for block in fleet.blocks}
    line = min(3.0, max(1.5, layout.node / 8))
    if fleet.chosen >= 0:
        block = by_vm[fleet.chosen]
        canvas.frame(layout.box(block.slot, block.bottom, block.cores, block.double), ACCENT, line)
    elif move is not None:
        block = by_vm[move.vm]
        target = layout.box(block.slot, block.bottom, block.cores, block.double)
        used = fleet.cores[move.source] - fleet.free[move.source]
        cores = min(move.cores, fleet.free[move.source])
        source = layout.box(move.source, used, cores, move.double)
        canvas.frame(source, INK, line)
        canvas.frame(source, ACCENT, line - 0.5)
        canvas.frame(target, INK, line + 1)
        canvas.frame(target, ACCENT, line)
        _arrow(canvas, _centre(source), _facing(target, _centre(source)))


def _arrow(canvas: Canvas, start: NDArray[np.float64], end: NDArray[np.float64]) -> None:
    """A bent arrow that stands out on every ground."""
    way = end - start
    length = float(np.hypot(*way))
    if length < 1:
        return
    bend = start + way / 2 - np.array([0.0, min(90.0, 0.3 * length)])
    t = np.linspace(0, 1, 256)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    ahead = (end - bend) / np.hypot(*(end - bend))
    side = np.array([-ahead[1], ahead[0]])
    for colour, wide, grow in ((INK, 5.0, 2.0), (ACCENT, 3.0, 0.0)):
        shaft = points[np.hypot(*(points - end).T) > 10]
        if len(shaft) > 1:
            canvas.curve(shaft, colour, wide)
        head = [end + grow * 1.6 * ahead]
        head += [end - 14 * ahead - grow * ahead * 0.5 + s * (7 + grow) * side for s in (-1, 1)]
        canvas.polygon(np.array(head), colour)


def _centre(box: Box) -> NDArray[np.float64]:
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])


def _facing(box: Box, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where an arrow from a point meets a box: at its side, so that its number stays legible."""
    left, top, right, bottom = box
    x, y = float(np.clip(point[0], left, right)), (top + bottom) / 2
    return np.array([x, np.clip(point[1], top, bottom) if x == point[0] else y])


def _between(colours: tuple[Colour, Colour], share: float) -> Colour:
    first, last = np.array(colours[0]), np.array(colours[1])
    red, green, blue = np.rint(first + share * (last - first)).astype(int).tolist()
    return red, green, blue


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@cache
def _hatch(width: int, height: int) -> Image.Image:
    """Diagonal stripes."""
    x, y = np.arange(width)[None], np.arange(height)[:, None]
    stripe = ((x + y) % 12 < 5)[..., None]
    return Image.fromarray(np.where(stripe, FRAGMENT[0], FRAGMENT[1]).astype(np.uint8))
