import math
import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib._pylab_helpers import Gcf
from PIL import Image

from limbeck.errors import UserError
from limbeck.report import MethodResult, save_comparison_plot
from limbeck.report.plot import _figure


def _result(method: str, *accuracies: float) -> MethodResult:
    same = (0.1,) * len(accuracies)
    return MethodResult(method, accuracies, same, same, None, same, 10, None)


@pytest.fixture
def results() -> list[MethodResult]:
    return [_result("kd", 0.75, 0.77), _result("none", 0.70, 0.71), _result("dist", 0.78, 0.80)]


def _texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_writes_png_at_200_dpi_and_svg(results, tmp_path):
    png, svg = save_comparison_plot(results, tmp_path / "new" / "eta0.8", title="T", teacher_accuracy=0.9)
    assert (png.name, svg.name) == ("eta0.8.png", "eta0.8.svg")
    with Image.open(png) as image:
        assert image.width == 1600
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_the_same_results_give_the_same_files(results, tmp_path):
    first = save_comparison_plot(results, tmp_path / "a", title="T", teacher_accuracy=0.9)
    second = save_comparison_plot(results, str(tmp_path / "b"), title="T", teacher_accuracy=0.9)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert not re.search(rb"<dc:date>", first[1].read_bytes())


def test_leaves_no_global_state(results, tmp_path):
    before = dict(mpl.rcParams)
    save_comparison_plot(results, tmp_path / "a", title="T")
    assert dict(mpl.rcParams) == before
    assert not Gcf.get_all_fig_managers()


def test_the_best_mean_is_on_top(results, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("limbeck.report.plot._figure", lambda rows, *rest: drawn.append(rows) or _figure(rows, *rest))
    save_comparison_plot(results, tmp_path / "a", title="T")
    assert [result.method for result in drawn[0]] == ["none", "kd", "dist"]


def test_every_seed_is_a_dot_and_the_mean_a_mark(results):
    axes = _figure(results, "T", None, "absent").axes[0]
    for row, result in enumerate(results):
        dots, mark = axes.lines[2 * row : 2 * row + 2]
        assert list(dots.get_xdata()) == pytest.approx([100 * a for a in result.accuracies])
        assert set(dots.get_ydata()) == {row}
        assert list(mark.get_xdata()) == pytest.approx([100 * sum(result.accuracies) / 2])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["kd", "none", "dist"]
    assert _texts(axes) == ["76.0 ± 1.4", "70.5 ± 0.7", "79.0 ± 1.4"]
    assert len(axes.lines) == 6
    assert axes.get_xlabel() == "test accuracy (%)"


def test_teacher_is_a_dashed_line_and_the_baseline_a_solid_one(results):
    axes = _figure(results, "T", 0.9, "none").axes[0]
    base, teacher = axes.lines[-2:]
    assert (base.get_linestyle(), base.get_xdata()[0]) == ("-", pytest.approx(70.5))
    assert (teacher.get_linestyle(), teacher.get_xdata()[0]) == ("--", pytest.approx(90))
    assert _texts(axes)[-2:] == ["none 70.5", "teacher 90.0"]


@pytest.mark.parametrize("teacher", [0.704, 0.705, 0.706])
def test_labels_of_near_lines_do_not_overlap(results, teacher):
    figure = _figure(results, "T", teacher, "none")
    figure.draw_without_rendering()
    base, taught = (text.get_window_extent() for text in figure.axes[0].texts[-2:])
    assert base.x1 <= taught.x0 + 1 or taught.x1 <= base.x0 + 1


def test_one_method_with_one_seed(tmp_path):
    png, svg = save_comparison_plot([_result("kd", 0.5)], tmp_path / "one", title="T")
    assert png.stat().st_size > 0
    assert svg.stat().st_size > 0


def test_wrong_input_is_refused(results, tmp_path):
    with pytest.raises(UserError, match="comparison plot: got no results"):
        save_comparison_plot([], tmp_path / "a", title="T")
    for accuracy in (92.1, -0.1, math.nan):
        with pytest.raises(UserError, match=f"teacher_accuracy: got {accuracy}, expected a share from 0 to 1"):
            save_comparison_plot(results, tmp_path / "a", title="T", teacher_accuracy=accuracy)
    assert not list(tmp_path.iterdir())
