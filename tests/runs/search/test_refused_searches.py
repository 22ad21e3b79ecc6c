"""What a search refuses, in one line and before anything is trained."""

import sys

import pytest

import limbeck
from limbeck.errors import UserError

CASES = {
    "an unknown method": ({"search.methods": "kdd"}, "unknown method 'kdd'; did you mean 'kd'"),
    "a method twice": ({"search.methods": "kd,kd"}, "search.methods: got kd, kd, expected each of at least one once"),
    "the method none": ({"search.methods": "none,kd"}, "search.methods: got 'none', which has no settings"),
    "a label": ({"search.methods": "kd@hot"}, "search.methods: got 'kd@hot', expected a method without a label"),
    "an unknown setting": ({"search.settings.kd.heat": [1, 2]}, "search.settings.kd.heat: unknown setting 'heat'"),
    "a value out of range": ({"search.settings.kd.alpha": [0.5, 2]}, "search.settings.kd.alpha: kd.alpha: got 2"),
    "an empty list": ({"search.settings.kd.alpha": []}, "search.settings.kd.alpha: got an empty list"),
    "a range without an end": ({"search.settings.kd.alpha": {"low": 0.5}}, "expected numbers as low and high"),
    "a log range from 0": (
        {"search.settings.kd.alpha": {"low": 0, "high": 1, "log": True}},
        "got a log range from 0, expected low above 0",
    ),
    "a range of its own": ({"search.settings.kd.alpha": {"low": 0, "high": 1, "step": 1}}, "got the key 'step'"),
    "settings of a method that is not searched": (
        {"search.settings.dkd.beta": [1, 2]},
        "search.settings: unknown method 'dkd'",
    ),
    "a space of one point": (
        {"search.methods": "kd", "search.settings": {"kd": {"temperature": 2}}},
        "search: got a space of one point",
    ),
    "a composition without settings": ({"search.methods": "lr+dist"}, r"search.settings.lr\+dist: not given"),
    "the number of epochs": ({"search.training.epochs": [1, 2]}, "search.training.epochs: got"),
    "an unknown key of the training": ({"search.training.sped": [1, 2]}, "search.training.sped: training.sped"),
    "a batch larger than the split": (
        {"search.training.batch_size": [2, 10**5]},
        "search.training.batch_size: got 100000, expected at most",
    ),
    "no settings": ({"search.runs": 0}, "search.runs: got 0"),
    "no minutes": ({"search.minutes": 0}, "search.minutes: got 0"),
    "too few minutes": ({"search.minutes": 1e-5}, "search.minutes: got 1e-05, but two settings take about"),
    "too large a share": ({"search.validation": 0.999}, "search.validation: got 0.999"),
    "a self-teacher for every rate": (
        {"search.methods": "dr_kd", "search.training.optimizer.lr": [0.1, 0.2]},
        "search.methods: dr_kd: search.training: got settings of the training",
    ),
    "no teacher": ({"teacher": {}}, "search.methods: kd: teacher.name: missing, expected a network"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_is_left(case, recipe, tmp_path):
    changes, text = CASES[case]
    with pytest.raises(UserError, match=text) as error:
        limbeck.search(recipe, overrides=changes, out=tmp_path / "s", jobs=1)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "cache" / "teachers").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"jobs": 0}, "jobs: got 0"),
        ({"storage": "here.db"}, "storage: got 'here.db', expected a URL"),
        ({"resume": True, "overwrite": True}, "resume and overwrite: got both"),
    ],
)
def test_options(options, text, recipe, tmp_path):
    with pytest.raises(UserError, match=text):
        limbeck.search(recipe, out=tmp_path / "s", **{"jobs": 1, **options})
    assert not (tmp_path / "s").exists()


def test_a_database_that_cannot_be_opened_is_named_without_its_password(recipe, tmp_path):
    url = f"sqlite:///{tmp_path}/nowhere/secret.db"
    with pytest.raises(UserError, match="search storage sqlite: cannot be opened") as error:
        limbeck.search(recipe, out=tmp_path / "s", jobs=1, storage=url)
    assert "secret" not in str(error.value)
    assert not (tmp_path / "s").exists()


def test_optuna_is_missing(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        UserError, match=r"needs the package optuna, which is missing, expected pip install 'limbeck\[search\]'"
    ):
        limbeck.search(recipe, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()
