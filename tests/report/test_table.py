import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from limbeck.errors import UserError
from limbeck.report import MethodResult, TeacherResult, comparison_rows, to_csv, to_markdown, to_rich
from limbeck.report.table import mean_and_spread

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
    return MethodResult("none", (0.701, 0.712, 0.733), (0.1, 0.11, 0.13), (1.0, 1.2, 1.1), None, (9, 10, 14), 10, None)


@pytest.fixture
def kd() -> MethodResult:
    return MethodResult("kd", (0.75, 0.77), (0.05, 0.03), (0.9, 0.8), (0.91, 0.94), (20.0, 22.0), 10, 0.8)


def _single(method: str, accuracy: float) -> MethodResult:
    return MethodResult(method, (accuracy,), (0.1,), (1.0,), (0.5,), (9.0,), 10, None)


def _numpy_cell(values: tuple[float, ...], factor: float, digits: int) -> str:
    scaled = factor * np.array(values)
    return f"{scaled.mean():.{digits}f} ± {scaled.std(ddof=1):.{digits}f}"


def test_cells_are_means_and_sample_deviations(none, kd):
    rows = comparison_rows([none, kd])
    assert [list(row) for row in rows] == [COLUMNS, COLUMNS]
    for row, result in zip(rows, (none, kd), strict=True):
        assert row["method"] == result.method
        assert row["test accuracy (%)"] == _numpy_cell(result.accuracies, 100, 1)
        assert row["ECE (%)"] == _numpy_cell(result.ece, 100, 1)
        assert row["NLL"] == _numpy_cell(result.nll, 1, 3)
        assert row["seconds"] == _numpy_cell(result.seconds, 1, 0)
        assert row["seeds"] == str(len(result.accuracies))
    assert rows[0]["agreement (%)"] == ""
    assert rows[1]["agreement (%)"] == _numpy_cell(kd.agreement, 100, 1)


def test_gain_is_signed_and_empty_for_the_baseline(none):
    rows = comparison_rows([_single("up", 0.8), none, _single("down", 0.7)])
    assert [row["gain over none"] for row in rows] == ["+8.5", "", "-1.5"]


def test_a_gain_that_rounds_to_zero_is_positive():
    rows = comparison_rows([_single("none", 0.7), _single("kd", 0.6999)])
    assert rows[1]["gain over none"] == "+0.0"


def test_gain_is_empty_without_the_baseline_and_follows_its_name(kd):
    assert comparison_rows([kd])[0]["gain over none"] == ""
    rows = comparison_rows([_single("lr", 0.7), kd], baseline="lr")
    assert rows[1]["gain over lr"] == "+6.0"


def test_one_seed_has_no_spread():
    row = comparison_rows([_single("kd", 0.876)])[0]
    assert (row["test accuracy (%)"], row["ECE (%)"], row["NLL"], row["seconds"]) == ("87.6", "10.0", "1.000", "9")


def test_a_diverged_loss_is_shown():
    assert mean_and_spread([1.0, math.inf], digits=3) == "inf ± nan"
    assert mean_and_spread([math.nan]) == "nan"


def test_markdown_has_caption_header_and_a_line_a_method(none, kd):
    text = to_markdown(comparison_rows([none, kd]), "Three seeds.")
    lines = text.splitlines()
    assert lines[:2] == ["Three seeds.", ""]
    assert lines[2] == f"| {' | '.join(COLUMNS)} |"
    assert lines[3].count("---:") == len(COLUMNS) - 1
    assert lines[4].startswith("| none | 71.5 ± 1.6 |  |")
    assert len(lines) == 6
    assert text.endswith("|\n")


def test_markdown_escapes_the_column_mark():
    assert r"| a\|b | 50.0 |" in to_markdown(comparison_rows([_single("a|b", 0.5)]), "")


def test_csv_holds_the_raw_numbers(none, kd):
    lines = list(csv.DictReader(io.StringIO(to_csv([none, kd]))))
    assert [line["method"] for line in lines] == ["none", "kd"]
    assert lines[0]["parameters"] == "10"
    assert [line["seeds"] for line in lines] == ["3", "2"]
    assert [line["selected_share"] for line in lines] == ["", "0.8"]
    for line, result in zip(lines, (none, kd), strict=True):
        for name, values in (("accuracy", result.accuracies), ("nll", result.nll), ("seconds", result.seconds)):
            assert float(line[f"{name}_mean"]) == pytest.approx(np.mean(values))
            assert float(line[f"{name}_std"]) == pytest.approx(np.std(values, ddof=1))
            assert [float(line[f"{name}_{i + 1}"]) for i in range(len(values))] == list(values)
    assert lines[1]["accuracy_3"] == ""
    assert [lines[0][f"agreement_{end}"] for end in ("mean", "std", "1")] == ["", "", ""]


def test_csv_of_one_seed_has_no_spread():
    line = next(csv.DictReader(io.StringIO(to_csv([_single("kd", 0.5)]))))
    assert (line["accuracy_mean"], line["accuracy_std"], line["accuracy_1"]) == ("0.5", "", "0.5")


def test_csv_of_nothing_is_a_header():
    assert to_csv([]).startswith("method,seeds,parameters,selected_share,accuracy_mean,accuracy_std,ece_mean")
    assert len(to_csv([]).splitlines()) == 1


def test_teachers_stand_above_the_methods_with_what_they_have(none, kd):
    teachers = [TeacherResult("teacher", 0.8085, 0.357, 1.2174), TeacherResult("self-teacher", 0.7, 0.05, 1.0)]
    rows = comparison_rows([none, kd], teachers=teachers)
    assert [row["method"] for row in rows] == ["teacher", "self-teacher", "none", "kd"]
    assert list(rows[0].values()) == ["teacher", "80.8", "", "", "35.7", "1.217", "", ""]
    assert list(rows[0]) == COLUMNS
    assert rows[2:] == comparison_rows([none, kd])
    assert "| teacher | 80.8 |  |  | 35.7 | 1.217 |  |  |" in to_markdown(rows, "")
    assert to_rich(rows, "title").row_count == 4


def test_csv_holds_a_teachers_raw_numbers_and_nothing_else(none):
    lines = list(csv.DictReader(io.StringIO(to_csv([none], [TeacherResult("teacher", 0.8085, 0.357, math.nan)]))))
    assert [line["method"] for line in lines] == ["teacher", "none"]
    filled = {name: text for name, text in lines[0].items() if text}
    assert filled == {"method": "teacher", "accuracy_mean": "0.8085", "ece_mean": "0.357", "nll_mean": "nan"}
    assert lines[1:] == list(csv.DictReader(io.StringIO(to_csv([none]))))


def test_terminal_table_with_teachers_fits_eighty_columns(none, kd):
    text = _printed([none, kd], 80, [TeacherResult("self-teacher", 0.8085, 0.357, 1.2174)])
    assert any(line.split() == ["self-teacher", "80.8", "35.7", "1.217"] for line in text.splitlines())
    assert "92.5 ± 2.1" in text


def _printed(results: list[MethodResult], width: int, teachers: list[TeacherResult] | None = None) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(to_rich(comparison_rows(results, teachers=teachers or []), "The [bold] title"))
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
        ({"accuracies": ()}, "kd: no accuracies, expected one for each seed"),
        ({"accuracies": (75.0, 0.8)}, r"kd: accuracy: got 75\.0, expected a share from 0 to 1"),
        ({"accuracies": (math.nan, 0.8)}, "kd: accuracy: got nan"),
        ({"ece": (0.1,)}, "kd: got 1 values of ece for 2 accuracies"),
        ({"ece": (0.1, 4.2)}, r"kd: ece: got 4\.2, expected a share"),
        ({"nll": (0.1, 0.2, 0.3)}, "kd: got 3 values of nll for 2 accuracies"),
        ({"agreement": (0.1, -0.1)}, r"kd: agreement: got -0\.1, expected a share"),
        ({"agreement": ()}, "kd: got 0 values of agreement for 2 accuracies"),
        ({"seconds": (1.0,)}, "kd: got 1 values of seconds for 2 accuracies"),
        ({"selected_share": 80.0}, r"kd: selected_share: got 80\.0, expected a share"),
    ],
)
def test_results_that_do_not_fit_are_refused(kd, change, message):
    with pytest.raises(UserError, match=message):
        replace(kd, **change)
