"""Settings that trained worse than no teacher bring a warning before anything is trained."""

import pytest

import limbeck
from limbeck.build.method_warnings import method_warnings
from limbeck.runs import Reporting, load_recipe


def warned(epochs=8, **method):
    return method_warnings(load_recipe("quickstart", {"method": method, "training.epochs": epochs}))


@pytest.mark.parametrize(
    ("epochs", "method", "expected"),
    [
        (12, {"name": "dkd"}, "dkd without warmup fell below no teacher in 12 epochs"),
        (12, {"name": "revise+dkd"}, "dkd without warmup fell below no teacher in 12 epochs"),
        (12, {"name": "dkd", "warmup": 4}, None),
        (40, {"name": "dkd"}, None),
        (12, {"name": "kd"}, None),
        (
            40,
            {"name": "dr_kd", "alpha": 0.95},
            "dr_kd with alpha 0.95 fell below no teacher in 6 and 40 epochs, got 0.95",
        ),
        (
            40,
            {"name": "tf_kd_self", "alpha": 0.9},
            "tf_kd_self with alpha 0.95 fell below no teacher in 6 and 40 epochs, got 0.9",
        ),
        (40, {"name": "dr_kd", "alpha": 0.95, "scale": "code"}, None),
        (40, {"name": "dr_kd"}, None),
    ],
)
def test_where_it_was_measured(epochs, method, expected):
    lines = warned(epochs, **method)
    assert bool(lines) is bool(expected)
    assert expected is None or lines[0].startswith(expected)


def test_runs_and_comparisons_log_it(tiny, tmp_path):
    run = limbeck.run({**tiny, "method": "dkd"}, out=tmp_path / "run")
    assert "warning: dkd without warmup fell below no teacher in 12 epochs" in (run.folder / "log.txt").read_text()
    lines = []
    recipe = {**tiny, "compare": {"methods": ["kd", "dkd"], "seeds": 1}}
    limbeck.compare(recipe, out=tmp_path / "all", jobs=1, reporting=Reporting(lines.append))
    assert [line for line in lines if "warning" in line and "dkd:" in line]
    assert not any("warning: kd" in line for line in lines)
