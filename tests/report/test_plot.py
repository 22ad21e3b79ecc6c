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
from limbeck.tasks import Classification, Metric

ACCURACY = Classification.metrics[0]
ERROR = Metric("error", "error rate", higher_is_better=False)
PERPLEXITY = Metric("perplexity", "perplexity", higher_is_better=False, share=False)


def _result(method: str, *values: float) -> MethodResult:
    figures = {"accuracy": values, "error": values, "perplexity": values, "ece": (0.1,) * len(values)}
    return MethodResult(method, figures, None, (0.1,) * len(values), 10, None)


def _axes(results, metric=ACCURACY, teacher=None, baseline="none"):
    return _figure({result.method: result.figures[metric.name] for result in results}, metric, "T", teacher, baseline)


@pytest.fixture
def results() -> list[MethodResult]:
    return [_result("kd", 0.75, 0.77), _result("none", 0.70, 0.71), _result("dist", 0.78, 0.80)]


def _texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_writes_png_at_200_dpi_and_svg(results, tmp_path):
    png, svg = save_comparison_plot(results, tmp_path / "new" / "eta0.8", title="T", metric=ACCURACY, teacher=0.9)
    assert (png.name, svg.name) == ("eta0.8.png", "eta0.8.svg")
    with Image.open(png) as image:
        assert image.width == 1600
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_the_same_results_give_the_same_files(results, tmp_path):
    first = save_comparison_plot(results, tmp_path / "a", title="T", metric=ACCURACY, teacher=0.9)
    second = save_comparison_plot(results, str(tmp_path / "b"), title="T", metric=ACCURACY, teacher=0.9)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert not re.search(rb"<dc:date>", first[1].read_bytes())


def test_leaves_no_global_state(results, tmp_path):
    before = dict(mpl.rcParams)
    save_comparison_plot(results, tmp_path / "a", title="T", metric=ACCURACY)
    assert dict(mpl.rcParams) == before
    assert not Gcf.get_all_fig_managers()


@pytest.mark.parametrize(("metric", "upwards"), [(ACCURACY, ["none", "kd", "dist"]), (ERROR, ["dist", "kd", "none"])])
def test_the_best_mean_is_on_top(results, metric, upwards):
    axes = _axes(results, metric).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == upwards
    assert list(axes.lines[0].get_xdata()) == pytest.approx([100 * v for v in _values(results, upwards[0])])


def _values(results, name):
    return next(result.figures["accuracy"] for result in results if result.method == name)


def test_a_metric_that_is_no_share_is_drawn_as_it_is():
    axes = _axes([_result("none", 8.5), _result("kd", 7.25, 7.75)], PERPLEXITY, teacher=5.0).axes[0]
    assert axes.get_xlabel() == "test perplexity"
    assert [list(line.get_xdata()) for line in axes.lines] == [[8.5], [8.5], [7.25, 7.75], [7.5], [8.5] * 2, [5.0] * 2]
    assert _texts(axes) == ["8.500", "7.500 ± 0.354", "none 8.500", "teacher 5.000"]


def test_every_seed_is_a_dot_and_the_mean_a_mark(results):
    axes = _axes(results, baseline="absent").axes[0]
    for row, name in enumerate(["none", "kd", "dist"]):
        values = _values(results, name)
        dots, mark = axes.lines[2 * row : 2 * row + 2]
        assert list(dots.get_xdata()) == pytest.approx([100 * value for value in values])
        assert set(dots.get_ydata()) == {row}
        assert list(mark.get_xdata()) == pytest.approx([100 * sum(values) / 2])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "kd", "dist"]
    assert _texts(axes) == ["70.5 ± 0.7", "76.0 ± 1.4", "79.0 ± 1.4"]
    assert len(axes.lines) == 6
    assert axes.get_xlabel() == "test accuracy (%)"


def test_teacher_is_a_dashed_line_and_the_baseline_a_solid_one(results):
    axes = _axes(results, teacher=0.9).axes[0]
    base, teacher = axes.lines[-2:]
    assert (base.get_linestyle(), base.get_xdata()[0]) == ("-", pytest.approx(70.5))
    assert (teacher.get_linestyle(), teacher.get_xdata()[0]) == ("--", pytest.approx(90))
    assert _texts(axes)[-2:] == ["none 70.5", "teacher 90.0"]


@pytest.mark.parametrize("teacher", [0.704, 0.705, 0.706])
def test_labels_of_near_lines_do_not_overlap(results, teacher):
    figure = _axes(results, teacher=teacher)
    figure.draw_without_rendering()
    base, taught = (text.get_window_extent() for text in figure.axes[0].texts[-2:])
    assert base.x1 <= taught.x0 + 1 or taught.x1 <= base.x0 + 1


def test_one_method_with_one_seed(tmp_path):
    png, svg = save_comparison_plot([_result("kd", 0.5)], tmp_path / "one", title="T", metric=ACCURACY)
    assert png.stat().st_size > 0
    assert svg.stat().st_size > 0


def test_wrong_input_is_refused(results, tmp_path):
    with pytest.raises(UserError, match="comparison plot: got no results"):
        save_comparison_plot([], tmp_path / "a", title="T", metric=ACCURACY)
    for accuracy in (92.1, -0.1, math.nan):
        with pytest.raises(UserError, match=f"teacher: got {accuracy}, expected a share from 0 to 1"):
            save_comparison_plot(results, tmp_path / "a", title="T", metric=ACCURACY, teacher=accuracy)
    assert not list(tmp_path.iterdir())
