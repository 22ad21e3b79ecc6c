"""The drawings of a page, as inline SVG whose colors are the page's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from limbeck.report.page.calibration import BINS, Reliability
from limbeck.report.page.gains import Gain
from limbeck.report.page.parts import MINUS
from limbeck.report.page.svg import line, picture, tag

Points = Sequence[tuple[float, float]]
_NUMBERED = 12


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``, evenly spaced.

    Example:
        >>> ticks(0.0, 1.0), ticks(62.0, 88.0, 4)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [70.0, 80.0])
    """
    rough = max(high - low, 1e-9) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(float(number * step), 10) for number in range(first, last + 1)]


def gain_range(gains: Sequence[Gain]) -> tuple[float, float]:
    """Return the range in which gains are drawn: that of the seeds, and as much again for their intervals.

    Example:
        >>> gain_range([Gain((1.0, 3.0), 2.0, 12.7)])
        (-3.0, 6.0)
    """
    values = [0.0, *(value for gain in gains for value in gain.by_seed)]
    low, high = min(values), max(values)
    room = max(high - low, 1e-6)
    ends = [end for gain in gains for end in (gain.low, gain.high)] or [0.0]
    return max(low - room, min(*ends, low - 0.1 * room)), min(high + room, max(*ends, high + 0.1 * room))


def gain_interval(gain: Gain, span: tuple[float, float], width: float = 140) -> Markup:
    """Draw a gain: a dot for each seed, the mean, and its interval, which ends in an arrow where it does not fit.

    Example:
        >>> "<svg" in gain_interval(Gain((1.0, 3.0), 2.0, 1.0), (-1.0, 4.0))
        True
    """
    low, high = span

    def x(value: float) -> float:
        return 6 + (width - 12) * (min(max(value, low), high) - low) / (high - low)

    left, right = x(gain.low), x(gain.high)
    parts = [line([(x(0), 0), (x(0), 22)], "zero")]
    if gain.half is not None:
        parts.append(line([(left, 11), (right, 11)], "interval"))
        for place, end, fits in ((left, -1, gain.low >= low), (right, 1, gain.high <= high)):
            tip = [(place, 7), (place, 15)] if fits else [(place - 4 * end, 7), (place, 11), (place - 4 * end, 15)]
            parts.append(line(tip, "interval"))
    parts += [tag("circle", cx=x(value), cy=11, r=2.2, class_="seed") for value in gain.by_seed]
    parts.append(tag("circle", cx=x(gain.mean), cy=11, r=4, class_="mean"))
    return picture(width, 22, parts)


def curves(
    series: Mapping[str, Sequence[Points]], span: tuple[float, float], epochs: float, label: str, level: float | None
) -> Markup:
    """Draw figures over epochs, a line a run.

    Args:
        series: By split the points of each run.
        span: Lowest and highest figure.
        epochs: The last epoch.
        label: What is drawn.
        level: A figure to draw as a dashed line, such as the teacher's; None for none.

    Example:
        >>> "polyline" in curves({"test": [[(1.0, 50.0), (2.0, 60.0)]]}, (40.0, 70.0), 2.0, "kd", None)
        True
    """
    width, height, left, bottom, top = 250.0, 160.0, 34.0, 22.0, 8.0
    low, high = span

    def place(epoch: float, value: float) -> tuple[float, float]:
        inner, tall = width - left - 10, height - bottom - top
        return left + inner * epoch / epochs, top + tall * (high - min(max(value, low), high)) / (high - low)

    parts: list[Markup] = []
    for value in ticks(low, high):
        start, end = place(0, value), place(epochs, value)
        parts += [
            line([start, end], "grid"),
            tag("text", _number(value), x=left - 6, y=start[1] + 4, text_anchor="end"),
        ]
    for epoch in _epoch_ticks(epochs):
        parts.append(tag("text", _number(epoch), x=place(epoch, low)[0], y=height - 6, text_anchor="middle"))
    if level is not None and low <= level <= high:
        parts.append(line([place(0, level), place(epochs, level)], "of-teacher"))
    for split, runs in series.items():
        for points in runs:
            drawn = [place(*point) for point in points]
            parts.append(line(drawn, f"curve {split}"))
            if len(drawn) <= 12:
                parts += [tag("circle", cx=x, cy=y, r=2.4, class_=f"point {split}") for x, y in drawn]
    return picture(width, height, parts, label)


def _epoch_ticks(epochs: float) -> list[float]:
    return [value for value in ticks(0, epochs, 4) if value == int(value)]


def _number(value: float) -> str:
    return f"{value:g}"


def reliability_diagram(found: Reliability, label: str) -> Markup:
    """Draw how often a network is right at each confidence, the diagonal, and below how many predictions each bin has.

    Example:
        >>> "<rect" in reliability_diagram(Reliability.of_sums(np.array([[10.0, 9.5, 5.0]] * 15)), "kd")
        True
    """
    left, top, side, strip = 30.0, 6.0, 160.0, 26.0
    step, base = side / BINS, top + side
    parts: list[Markup] = []
    for value in (0, 50, 100):
        y = base - side * value / 100
        parts += [line([(left, y), (left + side, y)], "grid")]
        parts += [tag("text", str(value), x=left - 5, y=y + 4, text_anchor="end")]
    most = max(float(found.counts.max()), 1.0)
    for place in np.flatnonzero(found.counts).tolist():
        x, tall = left + step * place, side * float(found.accuracy[place])
        amount = (strip - 4) * float(found.counts[place]) / most
        parts.append(tag("rect", x=x + 0.5, y=base - tall, width=step - 1, height=tall, class_="bar"))
        parts.append(tag("rect", x=x + 0.5, y=base + strip - amount, width=step - 1, height=amount, class_="amount"))
    parts.append(line([(left, base), (left + side, top)], "diagonal"))
    parts += [
        tag("text", str(value), x=left + side * value / 100, y=base + strip + 14, text_anchor="middle")
        for value in (0, 50, 100)
    ]
    return picture(left + side + 14, base + strip + 18, parts, label)


def matrix(values: NDArray[np.float64], names: Sequence[str], label: str, *, signed: bool = False) -> Markup:
    """Draw a matrix of shares by true class (rows) and predicted class (columns), in percent.

    Args:
        values: (C, C); a NaN is left blank.
        names: (C,) short class names.
        label: What is drawn.
        signed: Whether they are differences, which have a color for each sign.

    Example:
        >>> matrix(np.array([[0.9, 0.1], [0.2, 0.8]]), ["cat", "dog"], "kd").count("<rect")
        4
    """
    count = len(names)
    cell = 30.0 if count <= _NUMBERED else 15.0
    left = 12 + 6.4 * max(map(len, names))
    top = left
    largest = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    parts: list[Markup] = []
    for place, name in enumerate(names):
        middle = cell * (place + 0.5) + 4
        x = left + middle - 4
        parts.append(tag("text", name, x=left - 6, y=top + middle, text_anchor="end"))
        parts.append(tag("text", name, transform=f"translate({x + 4:.1f} {top - 6:.1f}) rotate(-90)"))
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        strength = float(abs(value)) / (largest if signed else 1.0)
        kind = "less" if signed and value < 0 else "more"
        x, y = left + cell * column, top + cell * row
        shade = round(min(strength, 1.0), 3)
        parts.append(tag("rect", x=x, y=y, width=cell - 1, height=cell - 1, class_=f"cell {kind}", fill_opacity=shade))
        text = _cell_text(float(value), signed) if count <= _NUMBERED else ""
        if text:
            parts.append(tag("text", text, x=x + cell / 2 - 0.5, y=y + cell / 2 + 4, text_anchor="middle"))
    return picture(left + cell * count + 2, top + cell * count + 2, parts, label)


def _cell_text(value: float, signed: bool) -> str:
    whole = round(100 * value)
    return "" if not whole else (f"{whole:+d}".replace("-", MINUS) if signed else str(whole))


def stacked(shares: Mapping[str, float], width: float = 220, label: str | None = None) -> Markup:
    """Draw shares that add up to 1 as parts of one bar, each with its name as class.

    Example:
        >>> stacked({"both-right": 0.5, "both-wrong": 0.5}).count("<rect")
        2
    """
    parts, x = [], 0.0
    for name, share in shares.items():
        parts.append(tag("rect", x=x, y=0, width=max(width * share - 1, 0.0), height=16, class_=f"part {name}"))
        x += width * share
    return picture(width, 16, parts, label)
