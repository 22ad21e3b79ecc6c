"""The study of a search: its changes are read, each once, however many trials it has."""

import csv

import optuna
import pytest

from limbeck.runs.search.dimensions import Choice
from limbeck.runs.search.halving import Rung
from limbeck.runs.search.space import Space
from limbeck.runs.search.stage import Stage
from limbeck.runs.search.study import Study, draw
from limbeck.runs.search.table import trials_csv
from limbeck.tasks import Classification

SPACE = Space({"kd": {"alpha": Choice((0.1, 0.3, 0.5))}}, {})


@pytest.fixture
def study(tmp_path):
    study = Study(tmp_path, "letters", higher_is_better=True)
    study.extend(draw(SPACE, 3, seed=0, valid=lambda point: True), 0)
    return study


def test_what_changed_is_read(study):
    study.report(1, 2, 0.5)
    assert (study.value(0, 2), study.value(1, 2), study.ordered([0, 1, 2], 2)) == (None, 0.5, [1])
    study.stop(0)
    study.complete(1, 0.5)
    study.fail(2, "no memory")
    assert [study.state(number) for number in study.numbers()] == ["stopped", "complete", "failed"]
    assert [study.reason(number) for number in study.numbers()] == ["", "", "no memory"]
    assert [trial.number for trial in study.history(2)] == [0, 1]


def test_the_table_of_trials_reads_the_study_once(study, tmp_path, monkeypatch):
    reads, whole = [], optuna.Study.get_trials
    monkeypatch.setattr(optuna.Study, "get_trials", lambda *given, **more: reads.append(1) or whole(*given, **more))
    study.report(0, 1, 0.25)
    stage = Stage("trials", None, SPACE, study, tmp_path, ((Rung(1, 3),),), Classification.metrics[0], defaults=True)
    lines = list(csv.DictReader(trials_csv([stage]).splitlines()))
    assert [line["validation@1"] for line in lines] == ["0.25", "", ""]
    assert len(reads) == 1
