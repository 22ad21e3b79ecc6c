"""A control's line says what came out."""

import pytest

import limbeck
from limbeck.report.controls import control_notes
from limbeck.report.results import MethodResult
from limbeck.tasks import Metric

ACCURACY = Metric("accuracy", "accuracy", share=True)
ERROR = Metric("error", "error rate", share=True, higher_is_better=False)


def lines(base, control, metric=ACCURACY, failures=()):
    results = [
        MethodResult("lr_ds", {metric.name: base}, None, (1.0,) * len(base), None, None),
        MethodResult("lr_ds@random", {metric.name: control}, None, (1.0,) * len(control), None, None, failures),
    ]
    return control_notes(results, {"lr_ds@random": "lr_ds"}, metric)


@pytest.mark.parametrize(
    ("base", "control", "metric", "expected"),
    [
        (
            (0.8, 0.9),
            (0.7, 0.8),
            ACCURACY,
            "is ahead of its control lr_ds@random: accuracy +10.0 (by seed +10.0, +10.0)",
        ),
        ((0.8,), (0.81,), ACCURACY, "is behind its control lr_ds@random: accuracy -1.0 (by seed -1.0)"),
        (
            (0.8, 0.9),
            (0.9, 0.8),
            ACCURACY,
            "is level with its control lr_ds@random: accuracy +0.0 (by seed -10.0, +10.0)",
        ),
        ((0.1,), (0.2,), ERROR, "is ahead of its control lr_ds@random: error rate +10.0 (by seed +10.0)"),
    ],
)
def test_the_line(base, control, metric, expected):
    assert lines(base, control, metric) == [f"lr_ds {expected}"]


def test_no_line_without_all_seeds():
    assert not lines((0.8, 0.9), (0.8,), failures=("seed 1: nan",))


def test_a_comparison_has_it(tiny, tmp_path):
    settings = {"lr_ds": {"scorer": "agreement"}, "lr_ds@random": {"scorer": "random"}, "kd@hot": {"temperature": 8}}
    compared = {"methods": ["lr_ds", "lr_ds@random", "kd", "kd@hot"], "seeds": 1, "settings": settings}
    done = limbeck.compare({**tiny, "compare": compared}, out=tmp_path / "all", jobs=1)
    (line,) = [note for note in done.notes if "its control" in note]
    assert line.startswith("lr_ds is ")
    assert "lr_ds@random" in line
    assert line in done.markdown
