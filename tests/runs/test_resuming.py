"""Resuming a run: what may differ, what is named, and that the numbers are those of a run that never stopped."""

import json
import shutil
import sys

import pytest

import limbeck
from limbeck.build.context import Context
from limbeck.errors import UserError
from limbeck.runs import RunFolder, load_recipe
from limbeck.runs.provenance import changes, provenance
from limbeck.runs.resuming import decide_start, meaning
from limbeck.training import Engine, resolve_precision
from stopped_runs import assert_same_run, log, metrics, stopping


@pytest.fixture
def stopped(tiny, tmp_path):
    """A run with KD, stopped after the first of its two epochs; resume it with changed settings."""
    recipe = {**tiny, "method": "kd"}
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(1, of=2))

    def resume(recipe=recipe, **changes):
        overrides = {key.replace("__", "."): value for key, value in changes.items()}
        return limbeck.run(recipe, overrides=overrides, out=tmp_path / "run", resume=True)

    return resume


def refused(resume, message, **changes):
    with pytest.raises(UserError, match=message) as error:
        resume(**changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_key_that_differs_is_named_with_both_values(stopped):
    refused(stopped, r"^training\.optimizer\.lr: the run in \S+run has 0\.05, got 0\.1; expected the same",
            training__optimizer__lr=0.1)  # fmt: skip
    refused(stopped, r"^method\.temperature: the run in \S+ has 4\.0, got 8\.0", method__temperature=8)
    refused(stopped, r"^method\.name: the run in \S+ has kd, got dist \(and \d+ more\)", method="dist")
    refused(stopped, r"^data\.train_limit: the run in \S+ has nothing, got 50", data__train_limit=50)
    refused(stopped, r"^teacher\.training\.epochs: the run in \S+ has 1, got 3", teacher__training__epochs=3)
    refused(stopped, r"^teacher\.cache_dtype: the run in \S+ has float32, got float16", teacher__cache="views")
    assert stopped().summary["epoch"] == 2


def test_a_long_value_is_cut(stopped):
    assert len(refused(stopped, "student.name", student="x" * 400)) < 400


def test_settings_that_change_no_number_may_differ(tiny, stopped, tmp_path):
    whole = limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "whole")
    changed = {
        "name": "other",
        "method__temperature": 4.0,
        "training__checkpoint_every": 2,
        "training__check_finite": True,
        "training__device": "auto",
        "teacher__cache_limit_gb": 1,
        "teacher__training__evaluate_every": 1,
        "compare__seeds": 5,
        "output__root": str(tmp_path / "elsewhere"),
    }
    assert_same_run(stopped(**changed).folder, whole.folder)


def test_the_metrics_may_be_measured_less_often(tiny, stopped, tmp_path):
    done = stopped(training__evaluate_every=2)
    assert (
        done.summary["test.accuracy"]
        == limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "w").summary["test.accuracy"]
    )


def test_the_data_may_have_moved_but_not_changed(tiny, stopped, tmp_path):
    (tmp_path / "mnist").rename(tmp_path / "moved")
    (path,) = (tmp_path / "moved").glob("t10k-images*")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    message = "^data: the test images are not those with which the run in"
    refused(stopped, message, data__root=str(tmp_path / "moved"))
    path.write_bytes(content)
    assert stopped(data__root=str(tmp_path / "moved")).summary["epoch"] == 2


NET = """import torch
class Net(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1)){more}
def make():
    return Net(784, 10)
"""


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_changed_code_is_named(tiny, tmp_path, monkeypatch, role):
    module = f"my_{role}_code"
    path = tmp_path / f"{module}.py"
    path.write_text(NET.format(more=""))
    monkeypatch.chdir(tmp_path)
    network = {"name": f"python:{module}:make", "options": {}}
    recipe = {**tiny, "method": "kd", role: network}
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(1, of=2))
    path.write_text(NET.format(more=" * 2"))
    with pytest.raises(UserError, match=f"^code: the code of the {role} is not that with which the run in"):
        limbeck.run(recipe, out=tmp_path / "run", resume=True)
    path.write_text(NET.format(more=""))
    assert limbeck.run(recipe, out=tmp_path / "run", resume=True).summary["epoch"] == 2


def test_weights_count_by_their_content(tiny, tmp_path):
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    limbeck.run({**tiny, "student": tiny["student"]}, out=tmp_path / "first")
    for path in files:
        path.write_bytes((tmp_path / "first" / "student.safetensors").read_bytes())
    recipe = {**tiny, "student": {**tiny["student"], "weights": str(files[0])}}
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(1))
    limbeck.run(tiny, overrides={"seed": 9}, out=tmp_path / "second")
    files[0].write_bytes((tmp_path / "second" / "student.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"^files: the content of student\.weights is not that"):
        limbeck.run(recipe, out=tmp_path / "run", resume=True)
    with pytest.raises(UserError, match=r"^files: the content of student\.weights is not that"):
        limbeck.run(tiny, out=tmp_path / "run", resume=True)
    recipe["student"]["weights"] = str(files[1])
    assert limbeck.run(recipe, out=tmp_path / "run", resume=True).summary["epoch"] == 2


def test_another_version_or_number_of_threads_is_a_warning(stopped, tmp_path):
    path = tmp_path / "run" / "provenance.json"
    stored = json.loads(path.read_text())
    stored["versions"]["limbeck"], stored["threads"]["number"] = "0.0.1", 99
    path.write_text(json.dumps(stored))
    stopped()
    assert "versions.limbeck: the run in" in log(tmp_path / "run")
    assert "began with 99, got" in log(tmp_path / "run")


def test_the_teachers_precision_counts_as_what_it_comes_to(stopped, tmp_path):
    refused(stopped, r"^teacher\.precision: the run in \S+run has fp32, got bf16; expected the same",
            teacher__precision="bf16")  # fmt: skip
    assert stopped(teacher__precision="fp32").summary["epoch"] == 2


def test_a_self_teachers_precision_counts(tiny, tmp_path):
    recipe = {**tiny, "method": "kd", "teacher": {"source": "self"}}
    limbeck.run(recipe, out=tmp_path / "run")
    with pytest.raises(UserError, match=r"^teacher\.precision: the run in \S+run has fp32, got bf16"):
        limbeck.run(recipe, overrides={"teacher.precision": "bf16"}, out=tmp_path / "run", resume=True)


def test_a_precision_that_changes_the_teachers_alone_is_named(tiny, tmp_path, monkeypatch):
    # A depthwise student is trained in fp32 either way; its teacher answers in bf16 with auto.
    monkeypatch.setattr("limbeck.training.device._has_fast_bf16", lambda _: True)
    training = {**tiny["training"], "precision": "auto", "epochs": 1}
    short = {**tiny["data"], "train_limit": 20}
    recipe = {**tiny, "data": short, "method": "kd", "student": "mobilenetv2", "training": training}
    limbeck.run(recipe, out=tmp_path / "run")
    with pytest.raises(UserError, match=r"^teacher\.precision: the run in \S+run has bf16, got fp32"):
        limbeck.run(recipe, overrides={"training.precision": "fp32"}, out=tmp_path / "run", resume=True)


def test_each_of_several_teachers_has_its_own_precision(tiny):
    def of_members(*precisions):
        members = [{**tiny["teacher"], "seed": n, "precision": each} for n, each in enumerate(precisions)]
        recipe = load_recipe({**tiny, "method": "kd", "teacher": {"members": members}})
        context = Context(recipe)
        return provenance(context, context.student().module)

    (change,) = changes(of_members("fp32", "bf16", "bf16"), of_members("fp32", "bf16", "fp32"))
    assert change == ("precision", "teacher.members.2.precision", "bf16", "fp32")


def test_a_lost_provenance_is_a_warning(stopped, tmp_path):
    (tmp_path / "run" / "provenance.json").unlink()
    stopped()
    assert "no provenance.json there" in log(tmp_path / "run")


@pytest.mark.parametrize("content", ['{"data": 3}', "[]", "{}"])
def test_a_provenance_of_something_else_counts_as_lost(stopped, tmp_path, content):
    (tmp_path / "run" / "provenance.json").write_text(content)
    stopped()
    assert "no provenance.json there" in log(tmp_path / "run")


def test_a_run_that_is_extended_without_its_provenance_can_be_extended_again(tiny, tmp_path):
    limbeck.run(tiny, out=tmp_path / "run")
    (tmp_path / "run" / "provenance.json").unlink()
    for epochs in (3, 4):
        done = limbeck.run(tiny, overrides={"training.epochs": epochs}, out=tmp_path / "run", resume=True)
    assert done.summary["training.extended_from"] == [2, 3]


@pytest.mark.skipif(resolve_precision("auto", "cpu") != "bf16", reason="this CPU has no bf16 that pays")
def test_the_precision_of_the_teachers_logits_is_compared(tiny, tmp_path):
    """A depthwise student trains in fp32 with `auto` too; the teacher's `auto` follows what is written."""
    recipe = {**tiny, "method": "kd", "student": "timm:mobilenetv3_small_050"}
    recipe["training"] = {**tiny["training"], "precision": "auto", "epochs": 1}
    limbeck.run(recipe, out=tmp_path / "run")
    changes = {"training.precision": "fp32", "training.epochs": 2}
    with pytest.raises(UserError, match=r"^teacher\.precision: the run in \S+ has bf16, got fp32; expected the same"):
        limbeck.run(recipe, overrides=changes, out=tmp_path / "run", resume=True)


def test_a_complete_run_is_compared_too(tiny, tmp_path):
    limbeck.run(tiny, out=tmp_path / "run")
    (path,) = (tmp_path / "mnist").glob("train-images*")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="^data: the train images are not those"):
        limbeck.run(tiny, out=tmp_path / "run", resume=True)


def test_epochs_may_be_raised_and_not_lowered(tiny, tmp_path):
    recipe = {**tiny, "training": {**tiny["training"], "schedule": "constant"}}
    whole = limbeck.run(recipe, overrides={"training.epochs": 4}, out=tmp_path / "whole")
    limbeck.run(recipe, out=tmp_path / "run")
    more = limbeck.run(recipe, overrides={"training.epochs": 4}, out=tmp_path / "run", resume=True)
    assert more.summary["epoch"] == 4
    assert_same_run(more.folder, whole.folder)
    lines = log(more.folder)
    assert "training.epochs: 4 instead of 2\n" in lines
    assert "resuming after epoch 2 of 4\n" in lines
    with pytest.raises(UserError, match=r"^training\.epochs: the run in \S+ has 4, got 3; expected at least as many"):
        limbeck.run(recipe, overrides={"training.epochs": 3}, out=tmp_path / "run", resume=True)


def test_a_run_without_checkpoints_begins_again_with_a_line_in_the_log(tiny, tmp_path):
    folder = RunFolder(tmp_path / "run")
    limbeck.run(tiny, out=folder.path)
    shutil.rmtree(folder.path / "checkpoints")
    more = limbeck.run(tiny, overrides={"training.epochs": 3}, out=folder.path, resume=True)
    assert "no checkpoint is there, so the run begins again" in log(folder.path)
    assert "instead of" not in log(folder.path)
    assert_same_run(more.folder, limbeck.run({**tiny, "training": {**tiny["training"], "epochs": 3}}).folder)


def test_the_effect_of_more_epochs_on_the_schedule_is_logged(tiny, tmp_path):
    folder = RunFolder(tmp_path / "run")
    limbeck.run(tiny, out=folder.path)
    start = decide_start(folder, load_recipe(tiny, {"training.epochs": 5}), resume=True, overwrite=False)
    assert start.resume
    assert start.notes == (
        "training.epochs: 5 instead of 2; from here on the learning rate follows the cosine schedule of 5 epochs",
    )


def test_a_self_teacher_allows_no_more_epochs(tiny, tmp_path):
    recipe = {**tiny, "method": "kd", "teacher": {"source": "self"}}
    limbeck.run(recipe, out=tmp_path / "run")
    with pytest.raises(UserError, match="expected 2, since its self-teacher is trained for as many"):
        limbeck.run(recipe, overrides={"training.epochs": 4}, out=tmp_path / "run", resume=True)


def test_settings_of_an_unused_teacher_are_not_compared(tiny):
    one, other = load_recipe(tiny), load_recipe(tiny, {"teacher.seed": 5, "teacher.options.width": 1})
    assert meaning(one) == meaning(other)


def test_a_run_stopped_in_its_first_epoch_takes_any_recipe(tiny, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open(load_recipe(tiny))
    done = limbeck.run(tiny, overrides={"seed": 4}, out=tmp_path / "run", resume=True)
    assert (done.summary["seed"], len(metrics(done.folder))) == (4, 2)


def with_proxy(tiny):
    settings = {"name": "select+lr", "proxy_epochs": 3}
    return {**tiny, "method": settings, "teacher": {**tiny["teacher"], "seed": 1}}


@pytest.fixture
def proxy_epochs(monkeypatch):
    """The epochs of proxies that were begun; the first proxy is interrupted in its second one."""
    train, trained = Engine.train_epoch, []

    def stop_in_the_second(engine, epoch):
        if not engine.splits:
            trained.append(epoch)
            if trained == [0, 1]:
                raise KeyboardInterrupt
        return train(engine, epoch)

    monkeypatch.setattr(Engine, "train_epoch", stop_in_the_second)
    return trained


def test_a_proxy_resumes_bit_for_bit(tiny, tmp_path, proxy_epochs):
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(with_proxy(tiny), out=tmp_path / "run")
    done = limbeck.run(with_proxy(tiny), out=tmp_path / "run", resume=True)
    assert proxy_epochs == [0, 1, 1, 2]
    assert "proxy: resuming after epoch 1 of 3" in log(done.folder)
    assert_same_run(done.folder, limbeck.run(with_proxy(tiny), out=tmp_path / "whole").folder)


@pytest.mark.parametrize("change", ["recipe", "data"])
def test_a_proxy_of_another_recipe_or_data_is_not_resumed(tiny, tmp_path, proxy_epochs, change):
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(with_proxy(tiny), out=tmp_path / "run")
    if change == "data":
        (path,) = (tmp_path / "mnist").glob("train-images*")
        path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    overrides = {"seed": 3} if change == "recipe" else {}
    limbeck.run(with_proxy(tiny), overrides=overrides, out=tmp_path / "run", resume=True)
    assert proxy_epochs == [0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ({"name": "lr_ds", "scorer": "influence", "refresh_every": 2}, {}),
        ("crd", {"ema": 0.9}),
        ("ctkd+kd", {}),
        ("dts+kd", {}),
        ("fitnet", {"ema": 0.9}),
    ],
    ids=str,
)
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_resumed_equals_never_stopped(tiny, tmp_path, method, more, precision):
    training = {**tiny["training"], **more, "epochs": 4, "precision": precision}
    recipe = {**tiny, "method": method, "training": training}
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(3, of=4))
    done = limbeck.run(recipe, out=tmp_path / "run", resume=True)
    assert "resuming after epoch 3 of 4" in log(done.folder)
    assert_same_run(done.folder, whole.folder)


RANDOM_DEPTH = """import random
import sys
import numpy as np
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.extra, self.last = torch.nn.Linear(784, 16), torch.nn.Linear(16, 16), torch.nn.Linear(16, 10)
    def forward(self, x):
        x = self.first(x.flatten(1)).relu()
        if self.training:
            x = x + self.extra(x).relu() * (random.random() < 0.5)
            x = x * float(np.random.uniform(0.5, 1.5))
        return self.last(torch.nn.functional.dropout(x, 0.2, self.training))
def make():
    return Net()
"""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_student_that_draws_from_every_generator_resumes_bit_for_bit(tiny, tmp_path, monkeypatch, precision):
    (tmp_path / "random_depth.py").write_text(RANDOM_DEPTH)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "random_depth", raising=False)
    training = {**tiny["training"], "epochs": 4, "precision": precision}
    recipe = {**tiny, "student": {"name": "python:random_depth:make"}, "training": training}
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(2))
    assert_same_run(limbeck.run(recipe, out=tmp_path / "run", resume=True).folder, whole.folder)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_used(tiny, tmp_path):
    recipe = {**tiny, "training": {**tiny["training"], "epochs": 4}}
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "run", reporting=stopping(3))
    (tmp_path / "run" / "checkpoints" / "last" / "state.pt").write_bytes(b"half")
    done = limbeck.run(recipe, out=tmp_path / "run", resume=True)
    assert "state.pt: cannot be read as a checkpoint" in log(done.folder)
    assert "resuming after epoch 2 of 4" in log(done.folder)
    assert_same_run(done.folder, whole.folder)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "linear"])
def test_more_epochs_resume_under_every_schedule(tiny, tmp_path, schedule):
    recipe = {**tiny, "training": {**tiny["training"], "schedule": schedule}}
    limbeck.run(recipe, out=tmp_path / "run")
    more = limbeck.run(recipe, overrides={"training.epochs": 4}, out=tmp_path / "run", resume=True)
    whole = limbeck.run(recipe, overrides={"training.epochs": 4}, out=tmp_path / "whole")
    assert [row["lr"] for row in metrics(more.folder)[2:]] == [row["lr"] for row in metrics(whole.folder)[2:]]
