"""The bars of classes in pictures of masks and boxes."""

import io

from matplotlib.figure import Figure

from limbeck.report.class_bars import draw_class_bars


def test_names_with_dollar_signs_are_no_formulas():
    figure = Figure()
    axes = figure.add_subplot()
    names = [r"$\unknown$", "5$ to 9$"]
    draw_class_bars(axes, names, {names[0]: 0.5}, "IoU (%)")
    # As a formula the first would end the drawing with an error, the second would be without its signs.
    figure.savefig(io.BytesIO())
    assert [label.get_text() for label in axes.get_yticklabels()] == names
