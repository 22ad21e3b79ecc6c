"""Runs and comparisons of a task whose primary metric is an error rate, with no predictions."""

import csv
import json

import pytest
import torch

import limbeck
from limbeck import tasks
from limbeck.runs import Reporting, RunFolder
from limbeck.tasks import Classification, Measured, Metric
from limbeck.training.checkpoint import load_checkpoint, save_checkpoint
from stopped_runs import StopAfter, assert_same_run, log, metrics


class Wrong(Classification):
    name = "wrong"
    metrics = (
        Metric("error", "error rate", higher_is_better=False),
        Metric("spread", "spread", higher_is_better=None, share=False),
    )

    def figures(self, rows):
        logits, labels, *_ = rows["main"]
        return {"error": (logits.argmax(dim=1) != labels).sum()}

    def evaluator(self):
        return Counter()


class Counter:
    def __init__(self):
        self.wrong, self.spread = [], []

    def update(self, output, targets):
        self.wrong.append((output.argmax(dim=1) != targets).float())
        self.spread.append(output.float().std(dim=1))

    def compute(self):
        wrong, spread = torch.cat(self.wrong), torch.cat(self.spread)
        return Measured({"error": wrong.mean().item(), "spread": spread.mean().item()})


@pytest.fixture
def wrong(monkeypatch):
    """Every recipe's task counts errors."""
    create = tasks.create
    monkeypatch.setattr(
        tasks, "create", lambda task, classes=None: create(Wrong(classes) if task == "classification" else task)
    )


def error_by_hand(folder, recipe):
    found = limbeck.data.load("mnist", root=recipe["data"]["root"])
    views = limbeck.data.Views(found.test, batch_size=30, mean=found.mean, std=found.std)
    student = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.25)
    limbeck.models.load_weights(student, folder / "student.safetensors")
    (batch,) = views.epoch(0)
    with torch.no_grad():
        return (student.eval()(batch.inputs).argmax(dim=1) != batch.targets).double().mean().item()


def test_a_run_reports_the_tasks_metrics(wrong, tiny, tmp_path, limbeck):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(tiny))
    code, out, _ = limbeck("run", path, "method=kd", "--out", tmp_path / "run", "--quiet")
    summary = RunFolder(tmp_path / "run").read_summary()
    assert (code, out) == (0, f"test error rate {summary['test.error']:.2%} after epoch 2 ({tmp_path / 'run'})\n")
    assert summary["test.error"] == pytest.approx(error_by_hand(tmp_path / "run", tiny))
    assert summary["train.error"] == pytest.approx(float(metrics(tmp_path / "run")[-1]["train.error"]))
    assert not [key for key in summary if "accuracy" in key]
    lines = log(tmp_path / "run")
    assert f"  test {100 * summary['test.error']:.2f} %  " in lines
    assert "teacher resnet8: test error rate" in lines
    assert "spread 0." in lines
    assert RunFolder(tmp_path / "run").read_predictions() is None
    assert RunFolder(tmp_path / "run").finished


def test_a_comparison_counts_gains_by_fewer_errors(wrong, tiny, tmp_path):
    logged = []
    recipe = {**tiny, "compare": {"methods": ["none", "kd"]}}
    found = limbeck.compare(recipe, out=tmp_path / "c", jobs=1, reporting=Reporting(logged.append))
    none, kd = (result.figures["error"][0] for result in found.results)
    assert none == pytest.approx(error_by_hand(tmp_path / "c" / "none" / "seed-0", tiny))
    cells = found.rows[2]
    assert cells["test error rate (%)"] == f"{100 * kd:.1f}"
    assert float(cells["gain over none"]) == pytest.approx(100 * (none - kd), abs=0.051)
    assert cells["agreement (%)"] == ""
    assert (found.teacher_figure, found.results[1].agreement) == (found.teachers[0].figures["error"], None)
    row = next(csv.DictReader((tmp_path / "c" / "table.csv").open()))
    assert (row["method"], float(row["error_rate_mean"])) == ("teacher", found.teacher_figure)
    assert (tmp_path / "c" / "plot.svg").is_file()
    again = limbeck.compare(recipe, out=tmp_path / "c", jobs=1, resume=True)
    assert again.results == found.results
    assert not [line for line in [*logged, found.markdown] if "accuracy" in line]


def test_a_run_of_an_earlier_version_is_read_and_resumed(tiny, tmp_path):
    whole = limbeck.run(tiny, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(tiny, out=tmp_path / "old", reporting=Reporting(progress=StopAfter(1)))
    folder = RunFolder(tmp_path / "old")
    state = load_checkpoint(folder.checkpoint, log=lambda _: None)
    for row in state["record"]:
        row["images_per_second"] = row.pop("samples_per_second")
    save_checkpoint(folder.checkpoint, state)
    table = folder.path / "metrics.csv"
    table.write_text(table.read_text().replace("samples_per_second", "images_per_second"))
    done = limbeck.run(tiny, out=folder.path, resume=True)
    assert_same_run(folder.path, tmp_path / "whole")
    assert done.summary["test.accuracy"] == whole.summary["test.accuracy"]
    header, *rows = table.read_text().splitlines()
    assert "samples_per_second" in header
    assert "images_per_second" not in header
    assert all("" not in row.split(",") for row in rows)
