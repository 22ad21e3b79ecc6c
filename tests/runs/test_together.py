"""Runs in two and three processes against one process with the same global batches: methods, tasks, settings."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

import limbeck
from data_layouts import write_mnist
from runs_together import main
from text_files import write_folder

TESTS = Path(__file__).parents[1]
METHODS = ("kd", "dist", "dr_kd", "lr_ds", "lw_kd", "crd", "ctkd")
OTHERS = ("select+dist", "cached", "accumulated", "clipped", "resumed", "divided", "text", "segmentation")
# Those of make test; make test-slow has all.
FEW = ("kd", "dist", "lw_kd", "divided", "text", "segmentation", "normed")
# What differs between runs of the same numbers.
TIMES = {"seconds", "samples_per_second"}


def training(**more):
    optimizer = {"name": "sgd", "lr": 0.05, "momentum": 0.9}
    # The last of three batches of an epoch has 12 samples.
    common = {"epochs": 2, "batch_size": 24, "batch_of": "global", "precision": "fp32", "device": "cpu"}
    return {**common, "optimizer": optimizer, **more}


def images(root, method, **more):
    network = {"name": "python:norm_free:staged"}
    settings = {"crd": {"negatives": 8, "dim": 6}, "select+dist": {"select": {"scorer": "agreement", "ratio": 0.6}}}
    return {
        "data": {"name": "mnist", "root": str(root / "mnist"), "augment": {"crop": 2, "flip": True}},
        "student": network,
        "teacher": {
            **{"name": "python:norm_free:staged", "options": {"width": 6}, "training": training(epochs=1)},
            "lightweight": {"per_class": 20, "epochs": 1},
        },
        "method": {"name": method, **settings.get(method, {})},
        "training": training(),
        "output": {"cache": str(root / "cache")},
        **more,
    }


def recipes(root):
    made = {method: images(root, method) for method in (*METHODS, "select+dist")}
    normed = {"name": "resnet8", "options": {"width": 0.25}}
    made["normed"] = images(root, "kd", student=normed, teacher={**normed, "training": training(epochs=1)})
    made["cached"] = images(root, "kd")
    made["cached"]["teacher"]["cache"] = "epochs"
    made["accumulated"] = images(root, "dist", training=training(batch_size=12, accumulate=2))
    made["clipped"] = images(root, "kd", training=training(clip_norm=0.5, ema=0.9))
    constant = {"schedule": "constant", "optimizer": {"name": "adamw", "lr": 0.005}}
    made["resumed"] = images(root, "lw_kd", training=training(**constant), first_epochs=1)
    made["divided"] = images(root, "fitnet", training=training(**constant, strategy="fsdp"), first_epochs=1)
    text = {"name": "text_cnn", "options": {"width": 16, "channels": 8, "dropout": 0.0}}
    made["text"] = {
        **images(root, "dist"),
        "data": {"name": "text", "root": str(root / "texts"), "options": {"max_length": 16}},
        **{"student": text, "teacher": {**text, "training": training(epochs=1)}},
    }
    made["segmentation"] = {
        **images(root, "dist"),
        "task": "segmentation",
        "data": {"name": "shapes", "options": {"train": 24, "test": 7, "side": 16}},
        "student": {"name": "python:norm_free:maps"},
        "teacher": {"name": "python:norm_free:maps", "options": {"width": 6}, "training": training(epochs=1)},
        "training": training(batch_size=12),
    }
    return made


def launched(folder, jobs, processes):
    """Run the jobs under torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    paths = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [*command, str(TESTS / "runs_together.py"), str(jobs), str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory, request):
    root = tmp_path_factory.mktemp("together")
    write_mnist(root / "mnist", train=60, test=31)
    write_folder(root / "texts")
    jobs = recipes(root) if request.config.getoption("--slow") else {n: r for n, r in recipes(root).items() if n in FEW}
    (root / "jobs.json").write_text(json.dumps(jobs))
    main(root / "jobs.json", root / "1")
    return root / "1"


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def together(alone, request):
    return launched(alone.parent / str(request.param), alone.parent / "jobs.json", request.param)


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]


def figures(folder):
    summary = json.loads((folder / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key.startswith(("test.", "weigh."))}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in (*METHODS, *OTHERS)]
)
def test_processes_give_the_curve_of_one(alone, together, name):
    one, several = alone / name, together / name
    for left, right in zip(rows(one), rows(several), strict=True):
        # Weighed by the positions of the masks, of which a row stands for several.
        shown = {"train.pixel_accuracy"} & left.keys()
        assert right == pytest.approx({**left, **{key: right[key] for key in shown}}, rel=2e-3, abs=2e-4)
        assert all(right[key] == pytest.approx(left[key], abs=0.01) for key in shown)
    assert figures(several) == pytest.approx(figures(one), rel=2e-3, abs=2e-4)
    before, after = (load_file(folder / "student.safetensors") for folder in (one, several))
    assert all((before[key] - after[key]).abs().max() < 1e-3 for key in before)


def test_every_test_sample_is_predicted_once_and_in_its_place(alone, together):
    of_one, of_several = (load_file(folder / "kd" / "predictions.safetensors") for folder in (alone, together))
    assert of_one.keys() == of_several.keys()
    assert all(of_one[name].shape == of_several[name].shape for name in of_one)
    assert (of_one["test"] == of_several["test"]).float().mean() > 0.9


def test_what_is_measured_is_what_is_kept(together):
    """Found by killing two processes: each measured its samples with batch norm statistics of its own."""
    kept = limbeck.evaluate(together / "normed", trust=True)
    assert kept.figures["loss"] == pytest.approx(figures(together / "normed")["test.loss"], rel=1e-5)


def test_the_first_process_writes_one_log(together):
    log = (together / "kd" / "log.txt").read_text()
    count = int(together.name)
    assert log.count("epoch 1/2") == 1
    assert f"cpu in {count} processes of {24 // count} images a batch" in log
