"""Line charts as SVG text, to stand inside a page: axes with ticks, labels with units, few colours.

Blue and vermilion of Okabe and Ito (2008) are told apart by the colour-blind; marks differ in shape too. What is drawn,
and in which words, is ``page``'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

BLUE, VERMILION, GREY, INK, RULE = "#0072b2", "#d55e00", "#a6a6a6", "#1a1a1a", "#e3e3e3"
WIDTH, HEIGHT = 520, 320
LEFT, RIGHT, TOP, BOTTOM = 68, 500, 12, 272  # edges of the plot
GUTTER = 16  # between the lowest value and the lower edge, for what has no value
TICKS = 6  # at most, about
Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """One direction of a chart: its label, the values at its ends, whether its scale is logarithmic.

    whole: ticks are whole numbers.
    """

    label: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    @classmethod
    def around(cls, label: str, values: Iterable[float], *, log: bool = False) -> Axis:
        """Returns an axis a little wider than its values, logarithmic only if they are positive and far apart."""
        known = list(values) or [0.0, 1.0]
        low, high = min(known), max(known)
        if log and low > 0 and high >= 5 * low:
            return cls(label, low / 1.1, high * 1.1, log=True)
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        return cls(label, low - margin, high + margin)

    def part(self, value: float) -> float:
        """Returns where a value lies from low (0) to high (1), at most a little beyond the ends."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / ((self.high - self.low) or 1.0)

    def ticks(self) -> list[float]:
        """Returns round values within the axis, about ``TICKS`` of them."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = [s * 10.0**d for d in decades for s in steps if self.low <= s * 10.0**d <= self.high]
                if len(found) <= TICKS + 1:
                    break
            return found
        step = _round_step((self.high - self.low) / TICKS)
        step = max(step, 1.0) if self.whole else step
        first = math.ceil(self.low / step - 1e-9)
        return [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def chart(x: Axis, y: Axis, marks: Iterable[Markup], title: str) -> Markup:
    """Returns an SVG picture: axes, then ``marks`` (of ``line``, ``steps``, ``dots``, ``crosses``) inside them.

    title: what the picture shows, for those who cannot see it.
    """
    parts = [Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="chart">').format(WIDTH, HEIGHT, title)]
    for value in y.ticks():
        at = _y(y, value)
        parts.append(Markup('<path d="M{} {}H{}" stroke="{}"/>').format(LEFT, at, RIGHT, RULE))
        parts.append(_text(LEFT - 8, at + 4, tick(value), "end"))
    for value in x.ticks():
        at = _x(x, value)
        parts.append(Markup('<path d="M{} {}v5" stroke="{}"/>').format(at, BOTTOM, INK))
        parts.append(_text(at, BOTTOM + 19, tick(value), "middle"))
    parts += marks
    parts.append(Markup('<path d="M{} {}H{}" stroke="{}"/>').format(LEFT, BOTTOM, RIGHT, INK))
    parts.append(_text((LEFT + RIGHT) / 2, HEIGHT - 8, x.label, "middle"))
    middle = (TOP + BOTTOM) / 2
    turned = Markup('<text x="14" y="{0}" text-anchor="middle" transform="rotate(-90 14 {0})">{1}</text>')
    parts.append(turned.format(_short(middle), y.label))
    return Markup("\n").join([*parts, Markup("</svg>")])


def line(x: Axis, y: Axis, points: Sequence[Point], colour: str, width: float, hint: str = "") -> Markup:
    """Returns a line through points; a single point is a dot. hint: shown where the mouse rests."""
    if len(points) == 1:
        return dots(x, y, points, colour, 2.5, [hint])
    path = " ".join(f"{_x(x, a)},{_y(y, b)}" for a, b in points)
    return Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="{}">{}</polyline>').format(
        path, colour, _short(width), _hint(hint)
    )


def steps(x: Axis, y: Axis, points: Sequence[Point], colour: str) -> Markup:
    """Returns a staircase that keeps each value until the next point, and the last to the end of the axis."""
    if not points:
        return Markup("")
    path = f"M{_x(x, points[0][0])} {_y(y, points[0][1])}"
    path += "".join(f"H{_x(x, b[0])}V{_y(y, b[1])}" for _, b in pairwise(points))
    return Markup('<path d="{}H{}" fill="none" stroke="{}" stroke-width="2.5"/>').format(path, RIGHT, colour)


def dots(x: Axis, y: Axis, points: Sequence[Point], colour: str, radius: float, hints: Sequence[str]) -> Markup:
    """Returns a dot at each point."""
    one = Markup('<circle cx="{}" cy="{}" r="{}" fill="{}">{}</circle>')
    return Markup("").join(
        one.format(_x(x, a), _y(y, b), radius, colour, _hint(hint)) for (a, b), hint in zip(points, hints, strict=True)
    )


def whiskers(x: Axis, y: Axis, points: Sequence[tuple[float, float, float]], colour: str) -> Markup:
    """Returns a vertical line at each (x, low, high), as one path."""
    path = "".join(f"M{_x(x, a)} {_y(y, low)}V{_y(y, high)}" for a, low, high in points)
    return Markup('<path d="{}" stroke="{}"/>').format(path, colour) if points else Markup("")


def crosses(x: Axis, at: Sequence[float], colour: str) -> Markup:
    """Returns a cross on the lower edge at each x, for what has no value."""
    path = "".join(f"M{_x(x, a) - 3.5:.1f} {BOTTOM - 12}l7 7m0-7l-7 7" for a in at)
    return Markup('<path d="{}" stroke="{}" stroke-width="1.5"/>').format(path, colour) if len(at) else Markup("")


def tick(value: float) -> str:
    """Returns a number as short as an axis wants it: 0.05, 20, 1,000."""
    if value and (abs(value) < 1e-4 or abs(value) >= 1e7):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{round(value, 10):,.10g}" if abs(value) < 1e6 else f"{value:,.0f}"


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Returns at most ``most`` points, evenly spaced, the first and the last among them."""
    n = len(points)
    if n <= most:
        return list(points)
    return [points[round(i * (n - 1) / (most - 1))] for i in range(most)]


def _round_step(raw: float) -> float:
    """Returns the least of 1, 2, 5 times a power of ten that is not below ``raw``."""
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    return next(step * power for step in (1, 2, 5, 10) if step * power >= raw * (1 - 1e-9))


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + axis.part(value) * (RIGHT - LEFT), 1)


def _y(axis: Axis, value: float) -> float:
    return round(BOTTOM - GUTTER - axis.part(value) * (BOTTOM - GUTTER - TOP), 1)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(_short(x), _short(y), anchor, text)


def _hint(text: str) -> Markup:
    return Markup("<title>{}</title>").format(text) if text else Markup("")


def _short(value: float) -> str:
    return f"{round(value, 1):g}"
