"""What goes wrong in practice: odd files, late mistakes, divergence, unlucky sizes."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

import limbeck
from data_layouts import write_image, write_mnist
from limbeck.errors import RunError, UserError
from limbeck.runs import load_recipe


def refused(recipe, tmp_path, message, **overrides):
    with pytest.raises(UserError) as error:
        limbeck.run(recipe, overrides={key.replace("__", "."): v for key, v in overrides.items()}, out=tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_mistakes_that_show_late_leave_nothing_either(tiny, tmp_path):
    kd = {**tiny, "method": "kd"}
    refused(kd, tmp_path, "teacher.training.batch_size: got 61", **{"teacher.training.batch_size": 61})
    refused(kd, tmp_path, "teacher.train_limit: got 6000", **{"teacher.train_limit": 6000})
    refused(kd, tmp_path, "cannot be written", **{"output.cache": "/dev/null/x"})
    refused({**tiny, "method": "lr_ds"}, tmp_path, "batch_size: got 58", **{"training.batch_size": 58})
    lightweight = {**tiny, "method": "lw_kd", "teacher": {"lightweight": {"source": "nowhere"}}}
    refused(lightweight, tmp_path, "nowhere")


def test_a_teacher_that_diverges_is_named(tiny, tmp_path):
    overrides = {"teacher.training.optimizer.lr": 1e30}
    with pytest.raises(RunError, match="^teacher: epoch 1, step 2 of 3: the loss part ce is"):
        limbeck.run({**tiny, "method": "kd"}, overrides=overrides, out=tmp_path / "run")


def test_a_comparison_checks_every_method_before_the_first_run(tiny, tmp_path):
    for change in ({"compare.methods": "none,crd", "student.layers": ["nope"]}, {"training.batch_size": 61}):
        with pytest.raises(UserError):
            limbeck.compare(tiny, overrides=change, out=tmp_path / "c", jobs=1)
        assert not (tmp_path / "c").exists()
    with pytest.raises(UserError, match="jobs: got 0"):
        limbeck.compare(tiny, out=tmp_path / "c", jobs=0)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("command", [limbeck.run, limbeck.compare])
def test_an_output_below_a_file_or_with_an_endless_name(tiny, tmp_path, command):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: is a file, expected a folder"):
        command(tiny, out=tmp_path / "file" / "x")
    with pytest.raises(UserError, match="cannot be used for"):
        command(tiny, out=tmp_path / ("x" * 300))


@pytest.mark.parametrize("command", [limbeck.run, limbeck.compare])
def test_resume_refuses_a_folder_that_holds_no_run(tiny, tmp_path, command):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UserError, match="mine: is not empty and holds no"):
        command(tiny, out=tmp_path / "mine", resume=True)


def test_divergence_that_only_the_test_split_shows(tiny, tmp_path):
    with pytest.raises(RunError, match="the loss"):
        limbeck.run(tiny, overrides={"training.optimizer.lr": 1e30, "training.batch_size": 60}, out=tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_last_batch_of_one_image_reaches_no_batch_norm(tiny, tmp_path):
    write_mnist(tmp_path / "odd", train=21, test=10)
    changes = {"data.root": str(tmp_path / "odd"), "student": "torchvision:resnet18", "training.epochs": 1}
    one = {**tiny, "student": "torchvision:resnet18"}
    assert limbeck.run(one, overrides=changes, out=tmp_path / "run").summary["epoch"] == 1


def test_multi_step_after_a_warm_up_resumes(tiny, tmp_path):
    class Stop:
        def step(self, position, meter):
            pass

        def epoch(self, row, epochs):
            if row["epoch"] == 1:
                raise KeyboardInterrupt

    schedule = {"name": "multi_step", "milestones": [2.5], "warmup_epochs": 1.5}
    recipe = {**tiny, "training": {**tiny["training"], "schedule": schedule, "epochs": 4}}
    whole = limbeck.run(recipe, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        limbeck.run(recipe, out=tmp_path / "stopped", reporting=limbeck.runs.Reporting(progress=Stop()))
    resumed = limbeck.run(recipe, out=tmp_path / "stopped", resume=True)
    assert resumed.summary["test.loss"] == whole.summary["test.loss"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"training.schedule": {"name": "multi_step", "milestones": [1], "warmup_epochs": 1}},
            "schedule.milestones: got 1, expected epochs after the warm-up",
        ),
        (
            {"training.schedule": {"name": "linear", "min_lr": 0.5}},
            "schedule.min_lr: got 0.5, expected at most",
        ),
        ({"student.options": {"num_classes": 5}}, "student.options: got num_classes"),
        ({"seed": 10**24}, "seed: got 1000000000000000000000000"),
        ({"data.augment.crop": 10**12}, "data.augment.crop: got 1000000000000"),
        ({"training.optimizer": {"name": "adam", "betas": [0.9]}}, "training.optimizer: adam:"),
        ({"training.optimizer.momentum": float("nan")}, "sgd: momentum: got nan"),
        ({"method": {"name": "kd", "kd": 3}}, "unknown setting 'kd'"),
        ({"method": "KD"}, "unknown method 'KD'; did you mean 'kd'"),
        ({"method": {"name": "lr_ds", "loss": "port"}}, "expected 'kd' with a selection"),
    ],
)
def test_values_that_used_to_slip_through(tiny, tmp_path, change, message):
    with pytest.raises(UserError) as error:
        limbeck.run(tiny, overrides=change, out=tmp_path / "run")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_port_loss_is_kept_beside_a_loss_that_the_name_has():
    method = limbeck.methods.create("lr+dist", lr={"loss": "port"})
    assert [term.name for term in method.terms] == ["label_revision", "dist"]


def test_usual_spellings_of_numbers(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("data: mnist\nstudent: resnet8\ntraining: {optimizer: {name: sgd, lr: 1e-1, weight_decay: 5e-4}}\n")
    assert load_recipe(path).training.optimizer.arguments == {"weight_decay": 5e-4}


def test_a_recipe_that_is_no_text(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes("data: mnist".encode("utf-16"))
    with pytest.raises(UserError, match="no text in UTF-8"):
        load_recipe(path)


def test_a_weights_file_of_four_bytes(tiny, tmp_path):
    (tmp_path / "junk.pt").write_bytes(b"\x80\x02\x8a\x0a")
    teacher = {"name": "resnet8", "weights": str(tmp_path / "junk.pt")}
    refused({**tiny, "method": "kd", "teacher": teacher}, tmp_path, "junk.pt")


def test_two_teachers_of_ones_own_with_the_same_name_are_not_confused(tiny, tmp_path, monkeypatch):
    accuracies = []
    for name in ("ReLU", "Tanh"):
        home = tmp_path / name
        home.mkdir()
        layers = f"torch.nn.Flatten(), torch.nn.Linear(784, 20), torch.nn.{name}(), torch.nn.Linear(20, 10)"
        (home / "my_teacher_net.py").write_text(
            f"import torch\ndef make():\n    return torch.nn.Sequential({layers})\n"
        )
        monkeypatch.chdir(home)
        monkeypatch.delitem(sys.modules, "my_teacher_net", raising=False)
        teacher = {"name": "python:my_teacher_net:make", "training": tiny["teacher"]["training"]}
        accuracies.append(limbeck.run({**tiny, "method": "kd", "teacher": teacher}, out=home / "run").summary)
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 2


def test_sixteen_bit_images_keep_their_grays(tmp_path):
    for name in ("a", "b"):
        for i in range(5):
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            pixels = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    data = limbeck.data.load("image_folder", root=tmp_path / "photos", size=8)
    batch = next(limbeck.data.Views(data.test, batch_size=2, mean=[0], std=[1]).epoch(0))
    torch.testing.assert_close(batch.inputs[0].flatten(), torch.linspace(0, 1, 64), rtol=0, atol=0.003)


def test_what_systems_leave_beside_images_is_passed_over(tmp_path):
    for name in ("a", "b"):
        for i in range(5):
            write_image(tmp_path / "photos" / name / f"{i}.png", 9, 9, seed=i)
        (tmp_path / "photos" / name / "._0.png").write_bytes(b"resource fork")
        write_image(tmp_path / "photos" / name / ".ipynb_checkpoints" / "0.png", 9, 9)
    (tmp_path / "photos" / "__MACOSX").mkdir()
    data = limbeck.data.load("image_folder", root=tmp_path / "photos", size=8)
    assert (len(data.classes), len(data.train) + len(data.test)) == (2, 10)
