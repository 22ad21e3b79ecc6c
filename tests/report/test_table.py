import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from error_rate import ErrorRate
from limbeck.errors import UserError
from limbeck.report import MethodResult, TeacherResult, comparison_rows, to_csv, to_markdown, to_rich
from limbeck.report.table import mean_and_spread
from limbeck.tasks import Classification, Metric

METRICS = Classification.metrics
COLUMNS = [
    "method",
    "test accuracy (%)",
    "gain over none",
    "agreement (%)",
    "ECE (%)",
    "NLL",
    "seconds",
    "seeds",
]


@pytest.fixture
def none() -> MethodResult:
    return _result("none", (0.701, 0.712, 0.733), (0.1, 0.11, 0.13), (1.0, 1.2, 1.1), None, (9, 10, 14), None)


@pytest.fixture
def kd() -> MethodResult:
    return _result("kd", (0.75, 0.77), (0.05, 0.03), (0.9, 0.8), (0.91, 0.94), (20.0, 22.0), 0.8)


def _result(method, accuracies, ece, nll, agreement, seconds, selected_share) -> MethodResult:
    # More than the table shows, as a run measures it.
    figures = {"accuracy": accuracies, "ece": ece, "loss": nll, "top5": accuracies, "confidence": accuracies}
    return MethodResult(method, figures, agreement, seconds, 10, selected_share)


def _single(method: str, accuracy: float) -> MethodResult:
    return _result(method, (accuracy,), (0.1,), (1.0,), (0.5,), (9.0,), None)


def _teacher(name: str, accuracy: float, ece: float, nll: float) -> TeacherResult:
    return TeacherResult(name, {"accuracy": accuracy, "ece": ece, "loss": nll, "confidence": 0.5})


def _numpy_cell(values: tuple[float, ...], factor: float, digits: int) -> str:
    scaled = factor * np.array(values)
    return f"{scaled.mean():.{digits}f} ± {scaled.std(ddof=1):.{digits}f}"


def test_cells_are_means_and_sample_deviations(none, kd):
    rows = comparison_rows([none, kd], METRICS)
    assert [list(row) for row in rows] == [COLUMNS, COLUMNS]
    for row, result in zip(rows, (none, kd), strict=True):
        assert row["method"] == result.method
        assert row["test accuracy (%)"] == _numpy_cell(result.figures["accuracy"], 100, 1)
        assert row["ECE (%)"] == _numpy_cell(result.figures["ece"], 100, 1)
        assert row["NLL"] == _numpy_cell(result.figures["loss"], 1, 3)
        assert row["seconds"] == _numpy_cell(result.seconds, 1, 0)
        assert row["seeds"] == str(len(result.figures["accuracy"]))
    assert rows[0]["agreement (%)"] == ""
    assert rows[1]["agreement (%)"] == _numpy_cell(kd.agreement, 100, 1)


def test_gain_is_signed_and_empty_for_the_baseline(none):
    rows = comparison_rows([_single("up", 0.8), none, _single("down", 0.7)], METRICS)
    assert [row["gain over none"] for row in rows] == ["+8.5", "", "-1.5"]


def test_a_gain_that_rounds_to_zero_is_positive():
    rows = comparison_rows([_single("none", 0.7), _single("kd", 0.6999)], METRICS)
    assert rows[1]["gain over none"] == "+0.0"


def test_gain_is_empty_without_the_baseline_and_follows_its_name(kd):
    assert comparison_rows([kd], METRICS)[0]["gain over none"] == ""
    rows = comparison_rows([_single("lr", 0.7), kd], METRICS, baseline="lr")
    assert rows[1]["gain over lr"] == "+6.0"


def test_one_seed_has_no_spread():
    row = comparison_rows([_single("kd", 0.876)], METRICS)[0]
    assert (row["test accuracy (%)"], row["ECE (%)"], row["NLL"], row["seconds"]) == ("87.6", "10.0", "1.000", "9")


def test_a_diverged_loss_is_shown():
    assert mean_and_spread([1.0, math.inf], digits=3) == "inf ± nan"
    assert mean_and_spread([math.nan]) == "nan"


def test_markdown_has_caption_header_and_a_line_a_method(none, kd):
    text = to_markdown(comparison_rows([none, kd], METRICS), "Three seeds.")
    lines = text.splitlines()
    assert lines[:2] == ["Three seeds.", ""]
    assert lines[2] == f"| {' | '.join(COLUMNS)} |"
    assert lines[3].count("---:") == len(COLUMNS) - 1
    assert lines[4].startswith("| none | 71.5 ± 1.6 |  |")
    assert len(lines) == 6
    assert text.endswith("|\n")


def test_markdown_escapes_the_column_mark():
    assert r"| a\|b | 50.0 |" in to_markdown(comparison_rows([_single("a|b", 0.5)], METRICS), "")


def test_csv_holds_the_raw_numbers(none, kd):
    lines = list(csv.DictReader(io.StringIO(to_csv([none, kd], METRICS))))
    assert [line["method"] for line in lines] == ["none", "kd"]
    assert lines[0]["parameters"] == "10"
    assert [line["seeds"] for line in lines] == ["3", "2"]
    assert [line["selected_share"] for line in lines] == ["", "0.8"]
    for line, result in zip(lines, (none, kd), strict=True):
        figures = result.figures
        series = {"accuracy": figures["accuracy"], "nll": figures["loss"], "seconds": result.seconds}
        for name, values in series.items():
            assert float(line[f"{name}_mean"]) == pytest.approx(np.mean(values))
            assert float(line[f"{name}_std"]) == pytest.approx(np.std(values, ddof=1))
            assert [float(line[f"{name}_{i + 1}"]) for i in range(len(values))] == list(values)
    assert lines[1]["accuracy_3"] == ""
    assert [lines[0][f"agreement_{end}"] for end in ("mean", "std", "1")] == ["", "", ""]


def test_csv_of_one_seed_has_no_spread():
    line = next(csv.DictReader(io.StringIO(to_csv([_single("kd", 0.5)], METRICS))))
    assert (line["accuracy_mean"], line["accuracy_std"], line["accuracy_1"]) == ("0.5", "", "0.5")


def test_csv_of_nothing_is_a_header():
    assert to_csv([], METRICS).startswith("method,seeds,parameters,selected_share,accuracy_mean,accuracy_std,ece_mean")
    assert len(to_csv([], METRICS).splitlines()) == 1


def test_teachers_stand_above_the_methods_with_what_they_have(none, kd):
    teachers = [_teacher("teacher", 0.8085, 0.357, 1.2174), _teacher("self-teacher", 0.7, 0.05, 1.0)]
    rows = comparison_rows([none, kd], METRICS, teachers=teachers)
    assert [row["method"] for row in rows] == ["teacher", "self-teacher", "none", "kd"]
    assert list(rows[0].values()) == ["teacher", "80.8", "", "", "35.7", "1.217", "", ""]
    assert list(rows[0]) == COLUMNS
    assert rows[2:] == comparison_rows([none, kd], METRICS)
    assert "| teacher | 80.8 |  |  | 35.7 | 1.217 |  |  |" in to_markdown(rows, "")
    assert to_rich(rows, "title").row_count == 4


def test_csv_holds_a_teachers_raw_numbers_and_nothing_else(none):
    lines = list(csv.DictReader(io.StringIO(to_csv([none], METRICS, [_teacher("teacher", 0.8085, 0.357, math.nan)]))))
    assert [line["method"] for line in lines] == ["teacher", "none"]
    filled = {name: text for name, text in lines[0].items() if text}
    assert filled == {"method": "teacher", "accuracy_mean": "0.8085", "ece_mean": "0.357", "nll_mean": "nan"}
    assert lines[1:] == list(csv.DictReader(io.StringIO(to_csv([none], METRICS))))


def test_terminal_table_with_teachers_fits_eighty_columns(none, kd):
    text = _printed([none, kd], 80, [_teacher("self-teacher", 0.8085, 0.357, 1.2174)])
    assert any(line.split() == ["self-teacher", "80.8", "35.7", "1.217"] for line in text.splitlines())
    assert "92.5 ± 2.1" in text


def _printed(results: list[MethodResult], width: int, teachers: list[TeacherResult] | None = None) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(to_rich(comparison_rows(results, METRICS, teachers=teachers or []), "The [bold] title"))
    return console.export_text()


def test_terminal_table_fits_eighty_columns(none, kd):
    text = _printed([none, kd, _single("revise+select+a_long_name", 0.7)], 80)
    for expected in ("The [bold] title", "71.5 ± 1.6", "1.100 ± 0.100", "92.5 ± 2.1", "seeds", "11 ± 3     3\n"):
        assert expected in text
    names = [line.split(" ")[0] for line in text.splitlines()]
    assert "revise+select+a_long_name" in "".join(names)


def test_terminal_table_takes_names_literally():
    assert "lr[eta=.8]" in _printed([_single("lr[eta=.8]", 0.5)], 100)


@pytest.mark.parametrize("write", [to_markdown, to_rich])
def test_no_rows_are_refused(write):
    with pytest.raises(UserError, match="comparison: got no rows, expected at least one"):
        write([], "title")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"figures": {}, "seconds": ()}, "kd: no seeds, expected at least one, complete or failed"),
        ({"figures": {"ece": (0.1,)}}, "kd: got 1 values of ece for 2 seeds"),
        ({"figures": {"loss": (0.1, 0.2, 0.3)}}, "kd: got 3 values of loss for 2 seeds"),
        ({"agreement": (0.1, -0.1)}, r"kd: agreement: got -0\.1, expected a share"),
        ({"agreement": ()}, "kd: got 0 values of agreement for 2 seeds"),
        ({"seconds": (1.0,)}, "kd: got 2 values of accuracy for 1 seeds"),
        ({"selected_share": 80.0}, r"kd: selected_share: got 80\.0, expected a share"),
    ],
)
def test_results_that_do_not_fit_are_refused(kd, change, message):
    with pytest.raises(UserError, match=message):
        replace(kd, **change)


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"accuracy": (75.0, 0.8)}, r"kd: accuracy: got 75\.0, expected a share from 0 to 1"),
        ({"accuracy": (math.nan, 0.8)}, "kd: accuracy: got nan"),
        ({"ece": (0.1, 4.2)}, r"kd: ece: got 4\.2, expected a share"),
    ],
)
def test_shares_in_percent_are_refused(kd, figures, message):
    with pytest.raises(UserError, match=message):
        comparison_rows([replace(kd, figures={**kd.figures, **figures})], METRICS)


ERRORS = ErrorRate.metrics


def _wrong(method: str, *errors: float, agreement=None) -> MethodResult:
    figures = {"error": errors, "margin": tuple(10 * error for error in errors), "rows": (48,) * len(errors)}
    return MethodResult(method, figures, agreement, (3.0,) * len(errors), None, None)


def test_less_of_an_error_is_a_gain():
    worse, none, better = _wrong("worse", 0.31, 0.35), _wrong("none", 0.30, 0.30), _wrong("better", 0.20, 0.26)
    teacher = TeacherResult("teacher", {"error": 0.125, "margin": 2.0, "rows": 48})
    rows = comparison_rows([worse, none, better], ERRORS, teachers=[teacher])
    expected = ["method", "test error rate (%)", "gain over none", "agreement (%)", "mean margin", "seconds", "seeds"]
    assert [list(row) for row in rows] == [expected] * 4
    assert [row["gain over none"] for row in rows] == ["", "-3.0", "", "+7.0"]
    assert list(rows[0].values()) == ["teacher", "12.5", "", "", "2.000", "", ""]
    assert list(rows[3].values()) == ["better", "23.0 ± 4.2", "+7.0", "", "2.300 ± 0.424", "3 ± 0", "2"]


def test_csv_columns_are_the_metrics_titles():
    teacher = TeacherResult("teacher", {"error": 0.125})
    found = list(csv.DictReader(io.StringIO(to_csv([_wrong("kd", 0.25)], ERRORS, [teacher]))))
    assert found[0] == {**dict.fromkeys(found[0], ""), "method": "teacher", "error_rate_mean": "0.125"}
    assert (found[1]["error_rate_1"], found[1]["mean_margin_mean"]) == ("0.25", "2.5")
    assert not [name for name in found[1] if "rows" in name or "accuracy" in name]


@pytest.mark.parametrize(("higher", "gain"), [(True, "-1.500"), (False, "+1.500"), (None, "-1.500")])
def test_a_gain_of_what_is_no_share_is_a_difference(higher, gain):
    metric = Metric("perplexity", "perplexity", higher, share=False)
    values = {"none": 5.0, "kd": 3.5}
    none, kd = (MethodResult(name, {"perplexity": (v,)}, None, (1.0,), 1, None) for name, v in values.items())
    row = comparison_rows([none, kd], [metric])[1]
    assert (row["test perplexity"], row["gain over none"]) == ("3.500", gain)


def test_a_metric_that_was_not_measured_is_empty():
    row = comparison_rows([MethodResult("kd", {"error": (0.5,)}, None, (1.0,), 1, None)], ERRORS)[0]
    assert (row["test error rate (%)"], row["mean margin"]) == ("50.0", "")
    row = comparison_rows([MethodResult("kd", {"margin": (0.5,)}, None, (1.0,), 1, None)], ERRORS)[0]
    assert (row["test error rate (%)"], row["mean margin"]) == ("", "0.500")


def test_a_method_without_a_complete_seed_has_failed():
    failed = MethodResult("kd", {"error": ()}, None, (), None, None, ("seed 0: too warm",))
    row = comparison_rows([_wrong("none", 0.5), failed], ERRORS)[1]
    assert row == {**dict.fromkeys(row, ""), "method": "kd", "test error rate (%)": "failed", "seeds": "0 of 1"}
