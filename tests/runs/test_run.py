"""One distillation from a recipe: what is written, that it repeats, that it resumes, and what is refused."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

import limbeck
from limbeck.errors import RunError, UserError
from limbeck.runs import Reporting, RunFolder

TIMES = ("seconds", "samples_per_second")
FEW_BANK = {"lightweight": {"per_class": 40, "epochs": 1}}


def metrics(folder):
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def with_method(recipe, method, **more):
    return {**recipe, "method": method, "teacher": {**recipe["teacher"], **FEW_BANK}, **more}


@pytest.mark.parametrize(
    "method", [*limbeck.methods.names(), "lr+dist", "dr_kd+dist", "lr_ds+dist", "revise+select+kd", "rectify+lw_kd"]
)
def test_every_method_runs(tiny, tmp_path, method):
    done = limbeck.run(with_method(tiny, method), out=tmp_path / "run")
    assert done.summary["method"] == method
    assert done.summary["epoch"] == 2
    rows = metrics(tmp_path / "run")
    assert len(rows) == 2
    assert all(float(row["train.loss"]) == pytest.approx(float(row["train.loss"])) for row in rows)
    needs = limbeck.methods.create(method)
    assert ("selected" in rows[0]) == (needs.selection is not None)


def test_the_folder_holds_the_documented_files(tiny, tmp_path):
    done = limbeck.run({**tiny, "method": "kd", "seed": 3}, out=tmp_path / "run")
    names = {path.name for path in done.folder.iterdir()}
    promised = {"recipe.yaml", "summary.json", "metrics.csv", "student.safetensors", "checkpoints", "log.txt"}
    assert promised <= names
    summary = json.loads((done.folder / "summary.json").read_text())
    expected = {"test.accuracy", "test.loss", "test.ece", "student.parameters", "seed", "epoch", "seconds"}
    assert expected <= set(summary)
    assert (summary["seed"], summary["epoch"]) == (3, 2)
    assert summary["versions.torch"] == torch.__version__.split("+")[0]
    assert summary["test.accuracy"] == pytest.approx(float(metrics(done.folder)[-1]["test.accuracy"]))
    assert "epoch 2/2" in (done.folder / "log.txt").read_text()


def test_the_student_file_holds_the_student_alone_and_gives_its_accuracy(tiny, tmp_path):
    done = limbeck.run({**tiny, "method": "lw_kd", "teacher": FEW_BANK}, out=tmp_path / "run")
    student = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.25)
    assert set(load_file(done.folder / "student.safetensors")) == set(student.state_dict())
    limbeck.models.load_weights(student, done.folder / "student.safetensors")
    data = limbeck.data.load("mnist", root=tiny["data"]["root"])
    views = limbeck.data.Views(data.test, batch_size=30, mean=data.mean, std=data.std)
    batch = next(views.epoch(0))
    right = (student.eval()(batch.inputs).argmax(1) == batch.labels).double().mean().item()
    assert right == pytest.approx(done.summary["test.accuracy"])


def test_same_seed_same_numbers_other_seed_others(tiny, tmp_path):
    one, again, other = (
        limbeck.run({**tiny, "method": "kd", "seed": seed}, out=tmp_path / name)
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    )
    assert metrics(one.folder) == metrics(again.folder)
    assert metrics(one.folder) != metrics(other.folder)


def test_three_lines_in_a_plain_loop_give_the_same_losses(tiny, tmp_path):
    done = limbeck.run(
        {**tiny, "method": "dist", "training": {**tiny["training"], "schedule": "constant"}}, out=tmp_path / "r"
    )
    data = limbeck.data.load("mnist", root=tiny["data"]["root"])
    augment = limbeck.data.Augment(crop=2, flip=True)
    views = limbeck.data.Views(
        data.train, batch_size=20, mean=data.mean, std=data.std, augment=augment, shuffle=True, channels_last=True
    )
    limbeck.seed_everything(0)
    student = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.25)
    teacher = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.5)
    limbeck.models.load_weights(teacher, next((tmp_path / "cache" / "teachers").glob("*/teacher.safetensors")))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, fused=True)
    losses = []

    distiller = limbeck.Distiller(student, teacher, method="dist").to(memory_format=torch.channels_last)
    for epoch in range(2):
        total = 0.0
        for batch in views.epoch(epoch):
            out = distiller(batch.inputs, batch.labels)
            out.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += out.loss.item() * len(batch.labels)
        losses.append(total / 60)
    assert losses == pytest.approx([float(row["train.loss"]) for row in metrics(done.folder)], rel=1e-6)


class StopAfter:
    """Interrupts a run once an epoch's checkpoint is written, as Ctrl-C would."""

    def __init__(self, epochs):
        self.epochs = epochs

    def step(self, position, meter):
        pass

    def epoch(self, row, epochs):
        if row["epoch"] == self.epochs:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("kd", {"schedule": {"name": "one_cycle"}}),
        ("lw_kd", {"schedule": {"name": "cosine", "warmup_epochs": 1}, "clip_norm": 1.0}),
        ("lr_ds", {"schedule": {"name": "multi_step", "milestones": [1, 3]}, "ema": 0.9}),
    ],
)
def test_resumed_equals_never_stopped_bit_for_bit(precise, tmp_path, method, more):
    recipe = with_method(precise, method, training={**precise["training"], **more, "epochs": 4})
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "stopped", reporting=StopAfterReporting(2))
    assert not (tmp_path / "stopped" / "summary.json").exists()
    resumed = limbeck.run(recipe, out=tmp_path / "stopped", resume=True)
    assert metrics(resumed.folder) == metrics(whole.folder)
    one, other = (load_file(run.folder / "student.safetensors") for run in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def StopAfterReporting(epochs):
    # The teacher's own training has one epoch, so that it is not stopped.
    return Reporting(progress=StopAfter(epochs))


def test_a_weak_lightweight_teacher_is_reported_by_every_run(tiny, tmp_path):
    logged = []
    for name in ("one", "two"):
        limbeck.run(with_method(tiny, "lw_kd"), out=tmp_path / name, reporting=Reporting(logged.append))
    assert sum("below 97%: expect it to cost the student accuracy" in line for line in logged) == 2
    assert sum("training a lightweight teacher" in line for line in logged) == 1


def test_a_complete_run_is_read_not_repeated(tiny, tmp_path):
    first = limbeck.run(tiny, out=tmp_path / "run")
    written = (tmp_path / "run" / "summary.json").stat().st_mtime_ns
    again = limbeck.run(tiny, out=tmp_path / "run", resume=True)
    assert again.summary == first.summary
    assert (tmp_path / "run" / "summary.json").stat().st_mtime_ns == written
    for name, value in first.student.state_dict().items():
        assert torch.equal(again.student.state_dict()[name], value)


def test_a_checkpoint_holds_no_teacher(tiny, tmp_path):
    done = limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "run")
    state = torch.load(done.folder / "checkpoints" / "last" / "state.pt", weights_only=True)
    assert all(name.startswith("student.") for name in state["distiller"])


def test_a_teacher_is_trained_once(tiny, tmp_path):
    logged = []
    for number, method in enumerate(("kd", "dist", "revise+kd")):
        limbeck.run({**tiny, "method": method}, out=tmp_path / str(number), reporting=Reporting(logged.append))
    assert sum("training resnet8 as teacher" in line for line in logged) == 1
    assert sum("before this run" in line for line in logged) == 2
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"teacher.seed": 1},
        {"teacher.training.epochs": 2},
        {"teacher.options.width": 0.25},
        {"data.train_limit": 50},
        {"data.augment.crop": 1},
    ],
)
def test_another_teacher_is_trained_when_anything_that_made_it_changes(tiny, tmp_path, change):
    limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "one")
    limbeck.run({**tiny, "method": "kd"}, out=tmp_path / "two", overrides=change)
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 2


def test_the_self_teacher_is_the_students_network_from_another_start(tiny, tmp_path):
    done = limbeck.run({**tiny, "method": "dr_kd"}, out=tmp_path / "run")
    (folder,) = (tmp_path / "cache" / "teachers").iterdir()
    student, teacher = load_file(done.folder / "student.safetensors"), load_file(folder / "teacher.safetensors")
    assert {name: value.shape for name, value in student.items()} == {n: v.shape for n, v in teacher.items()}
    alone = limbeck.run(tiny, out=tmp_path / "alone")
    assert not torch.equal(load_file(alone.folder / "student.safetensors")["conv1.weight"], teacher["conv1.weight"])


def test_any_method_may_have_a_self_teacher(tiny, tmp_path):
    done = limbeck.run({**tiny, "method": "dist", "teacher": {"source": "self"}}, out=tmp_path / "run")
    assert done.summary["teacher"] == "self"


def test_a_teacher_with_weights_and_its_own_normalization(precise, tmp_path):
    limbeck.run({**precise, "method": "kd"}, out=tmp_path / "first")
    weights = next((tmp_path / "cache" / "teachers").glob("*/teacher.safetensors"))
    given = {"name": "resnet8", "options": {"width": 0.5}, "weights": str(weights)}
    same = limbeck.run({**precise, "method": "kd", "teacher": given}, out=tmp_path / "same")
    assert metrics(same.folder) == metrics(tmp_path / "first")
    other = {**given, "normalize": {"mean": [0.5], "std": [0.5]}, "size": 32}
    moved = limbeck.run({**precise, "method": "kd", "teacher": other}, out=tmp_path / "other")
    assert metrics(moved.folder) != metrics(same.folder)


def test_validation_is_cut_from_training_and_recorded(tiny, tmp_path):
    done = limbeck.run(tiny, overrides={"data.validation": 0.5}, out=tmp_path / "run")
    assert "validation.accuracy" in done.summary
    assert "30 training and 30 test" in (done.folder / "log.txt").read_text()


def test_a_loss_that_is_no_number_fails_the_run(tiny, tmp_path):
    with pytest.raises(RunError, match="epoch 1, step 2 of 3: the loss part ce is nan"):
        limbeck.run(tiny, overrides={"training.optimizer.lr": 1e30}, out=tmp_path / "run")
    assert not RunFolder(tmp_path / "run").finished


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training.epochs": 0}, "training.epochs: got 0, input should be greater than or equal to 1"),
        ({"training.epoch": 5}, "training.epoch: unknown key 'epoch'; did you mean 'epochs'?"),
        ({"trainin.epochs": 5}, "trainin: unknown key 'trainin'; did you mean 'training'?"),
        ({"method": "dits"}, "method: unknown method 'dits'; did you mean 'dts' or 'dist'?"),
        (
            {"method": {"name": "kd", "temperature": -1}},
            "kd.temperature: got -1, expected 'auto' (beside weigh) or a number above 0",
        ),
        ({"method": {"name": "kd", "temprature": 1}}, "unknown setting 'temprature'; did you mean 'temperature'?"),
        ({"student": "resnet21"}, "student: unknown model 'resnet21'; did you mean"),
        ({"student": "timm:resnet18x"}, "student: unknown timm model 'resnet18x'"),
        ({"student.options": {"widht": 2}}, "student: unknown resnet8 option 'widht'; did you mean 'width'?"),
        ({"training.optimizer": "sgdd"}, "training.optimizer: unknown optimizer 'sgdd'; did you mean 'sgd' or 'asgd'?"),
        ({"training.optimizer.momentun": 0.5}, "unknown argument of sgd 'momentun'; did you mean 'momentum'?"),
        ({"training.optimizer.momentum": -1}, "sgd: Invalid momentum value: -1"),
        ({"training.schedule.name": "cosin"}, "training.schedule.name: got 'cosin', input should be 'constant'"),
        (
            {"training.schedule": {"name": "multi_step", "milestones": [9]}},
            "schedule.milestones: got 9, expected epochs",
        ),
        ({"data.name": "fashon_mnist"}, "unknown data set 'fashon_mnist'; did you mean 'fashion_mnist'"),
        ({"data.root": "nowhere"}, "nowhere"),
        ({"data.train_limit": 5}, "data.train_limit"),
        ({"training.batch_size": 61}, "training.batch_size: got 61, expected at most 60 images"),
        ({"training.device": "cuda:7"}, "training.device: got 'cuda:7', input should be"),
        ({"data.normalize": {"mean": [0, 0, 0], "std": [1, 1, 1]}}, "data.normalize: got 3 means"),
        ({"seed": -1}, "seed: got -1"),
        ({"task": "clasification"}, "task: unknown task 'clasification'; did you mean 'classification'?"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(tiny, tmp_path, change, message):
    with pytest.raises(UserError) as error:
        limbeck.run(tiny, overrides=change, out=tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def trained_weights(tmp_path, classes=10, channels=1):
    net = limbeck.models.create("resnet8", num_classes=classes, in_channels=channels, width=0.5)
    path = tmp_path / "weights.pt"
    torch.save(net.state_dict(), path)
    return str(path)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({}, "teacher.name: missing, expected a network"),
        ({"name": "resnet8"}, "teacher resnet8: has no weights, expected teacher.weights or teacher.training"),
        ({"name": "resnet8", "weights": "gone.pt"}, "gone.pt"),
        ({"weights": "gone.pt"}, "teacher.name: missing"),
        ({"name": "resnet8", "weights": "gone.pt", "training": {"epochs": 1}}, "gone.pt': no such file"),
        ({"name": "resnet8", "weights": "gone.pt", "freeze": ["conv1"]}, "teacher.freeze: got layers without training"),
        ({"name": "resnet8", "weights_entry": "ema"}, "teacher.weights_entry: got 'ema' without weights"),
        ({"name": "python:no_such_module:make"}, "no_such_module"),
        ({"source": "livee"}, "teacher.source: got 'livee'"),
    ],
)
def test_mistakes_about_the_teacher(tiny, tmp_path, teacher, message):
    with pytest.raises(UserError) as error:
        limbeck.run({**tiny, "method": "kd", "teacher": teacher}, out=tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("classes", "channels"), [(7, 1), (10, 3)])
def test_a_teacher_of_other_classes_or_channels(tiny, tmp_path, classes, channels):
    weights = trained_weights(tmp_path, classes, channels)
    teacher = {"name": "resnet8", "options": {"width": 0.5}, "weights": weights}
    with pytest.raises(UserError, match="teacher: .*shape"):
        limbeck.run({**tiny, "method": "kd", "teacher": teacher}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 7))",
            "teacher python:mine:make: gives 7 classes",
        ),
        ("torch.nn.Conv2d(3, 10, 3)", "teacher python:mine:make: cannot take mnist's images of shape (1, 28, 28)"),
        ("torch.nn.Conv2d(1, 10, 3)", "its output is (2, 10, 26, 26), expected logits of shape (N, 10)"),
    ],
)
def test_a_teacher_of_ones_own_that_does_not_fit(tiny, tmp_path, monkeypatch, body, message):
    (tmp_path / "mine.py").write_text(f"import torch\ndef make():\n    return {body}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    with pytest.raises(UserError) as error:
        limbeck.run({**tiny, "method": "kd", "teacher": "python:mine:make"}, out=tmp_path / "run")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (
            "raise ValueError('no such thing')",
            "cannot be trained on mnist's images of shape (1, 28, 28) (no such thing)",
        ),
        ("return x, x", "its output is tuple, expected logits of shape (N, 10)"),
    ],
)
def test_a_student_of_ones_own_that_fails_in_train_mode_only(tiny, tmp_path, monkeypatch, training, message):
    lines = [
        "import torch",
        "class Net(torch.nn.Linear):",
        "    def forward(self, x):",
        "        x = super().forward(x.flatten(1))",
        "        if self.training:",
        f"            {training}",
        "        return x",
        "def make():",
        "    return Net(784, 10)",
    ]
    (tmp_path / "moody.py").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "moody", raising=False)
    with pytest.raises(UserError) as error:
        limbeck.run({**tiny, "method": "none", "student": "python:moody:make"}, out=tmp_path / "run")
    assert f"student python:moody:make: {message}" in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["text", "pickle", "tensor"])
def test_a_teacher_file_that_is_no_state_dict(tiny, tmp_path, kind):
    path = tmp_path / "teacher.pt"
    if kind == "text":
        path.write_text("not weights")
    else:
        torch.save(torch.nn.Linear(1, 1) if kind == "pickle" else torch.zeros(3), path)
    teacher = {"name": "resnet8", "weights": str(path)}
    with pytest.raises(UserError) as error:
        limbeck.run({**tiny, "method": "kd", "teacher": teacher}, out=tmp_path / "run")
    assert "teacher.pt" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_output_folder_that_already_holds_a_run(tiny, tmp_path):
    limbeck.run(tiny, out=tmp_path / "run")
    with pytest.raises(UserError, match="run: already holds a run, expected another --out, or --resume"):
        limbeck.run(tiny, out=tmp_path / "run")
    with pytest.raises(UserError, match=r"seed: the run in \S+ has 0, got 5; expected the same"):
        limbeck.run(tiny, overrides={"seed": 5}, out=tmp_path / "run", resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file, expected a folder"):
        limbeck.run(tiny, out=tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(UserError, match="full: is not empty"):
        limbeck.run(tiny, out=tmp_path / "full")


def test_resuming_where_nothing_was_written_begins_anew(tiny, tmp_path):
    assert limbeck.run(tiny, out=tmp_path / "run", resume=True).summary["epoch"] == 2


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tiny, tmp_path):
    whole = limbeck.run(tiny, out=tmp_path / "run")
    expected = metrics(whole.folder)
    (tmp_path / "run" / "summary.json").unlink()
    checkpoints, logged = tmp_path / "run" / "checkpoints" / "last", []
    (checkpoints / "state.pt").write_bytes(b"half")
    limbeck.run(tiny, out=tmp_path / "run", resume=True, reporting=Reporting(logged.append))
    assert metrics(tmp_path / "run") == expected
    assert sum("state.pt: cannot be read as a checkpoint (it is half-written" in line for line in logged) == 1
    assert "resuming after epoch 1 of 2" in (tmp_path / "run" / "log.txt").read_text()
    (tmp_path / "run" / "summary.json").unlink()
    for path in checkpoints.iterdir():
        path.write_bytes(b"half")
    with pytest.raises(UserError, match=r"state\.pt: cannot be read as a checkpoint"):
        limbeck.run(tiny, out=tmp_path / "run", resume=True)
