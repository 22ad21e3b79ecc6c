"""What pictures of classes have in common: a color for each, and a bar of its figure."""

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

_GOLDEN, _LIGHTNESS = 0.618034, (0.7, 0.5, 0.32)


def class_colors(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return a color for each class: hues far apart, in three lightnesses; black for what is no class.

    Args:
        count: The number of classes.

    Returns:
        uint8 (256, 3), of which the first ``count`` rows are classes.

    Example:
        >>> class_colors(2)[:3].tolist()
        [[228, 129, 129], [45, 93, 210], [0, 0, 0]]
    """
    table = np.zeros((256, 3), dtype=np.uint8)
    for number in range(min(count, len(table) - 1)):
        color = colorsys.hls_to_rgb(number * _GOLDEN % 1.0, _LIGHTNESS[number % 3], 0.65)
        table[number] = [round(255 * value) for value in color]
    return table


def draw_class_bars(axes: Axes, classes: Sequence[str], figures: Mapping[str, float], label: str) -> None:
    """Draw a bar for each class in its color, from the top.

    Args:
        axes: Where they are drawn.
        classes: The class names.
        figures: The figure of each, from 0 to 1; classes without one have no bar.
        label: What the figure is, in percent.

    Example:
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().add_subplot()
        >>> draw_class_bars(axes, ["sky", "road"], {"sky": 0.5}, "IoU (%)")
        >>> axes.get_xlabel()
        'IoU (%)'
    """
    places = range(len(classes))
    colors = class_colors(len(classes))[: len(classes)] / 255
    axes.barh(
        places, [100 * figures.get(name, 0.0) for name in classes], color=colors, edgecolor="#333333", linewidth=0.5
    )
    # A name may hold dollar signs, which would be read as a formula.
    axes.set_yticks(places, classes, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
