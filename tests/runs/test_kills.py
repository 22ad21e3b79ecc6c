"""Commands that are killed, at random moments and in the middle of writing, and resumed: the results are the same."""

import signal

import pytest
import yaml

import limbeck
from data_layouts import write_classes
from kills import Kill, assert_equal_contents, killed_and_resumed, leftovers, lines_of, random_kills

TRAINING = {
    "epochs": 4,
    "batch_size": 25,
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    "precision": "fp32",
    "device": "cpu",
    "checkpoint_steps": 3,
    "ema": 0.9,
}
RECIPE = {
    "name": "killed",
    "data": {
        "name": "fashion_mnist_sample",
        "train_limit": 200,
        "test_limit": 60,
        "augment": {"crop": 2, "flip": True},
    },
    "teacher": {
        "name": "resnet8",
        "options": {"width": 0.5},
        "training": {**TRAINING, "epochs": 3, "ema": None},
        "lightweight": {"per_class": 60, "epochs": 4},
        "cache": "views",
        "cache_dtype": "float32",
    },
    "student": {"name": "resnet8", "options": {"width": 0.25}},
    "training": TRAINING,
    "compare": {"methods": ["none", "kd"], "seeds": 1},
}


def commands(name, changes, folder):
    """Return the words of a command in a folder of its own."""
    folder.mkdir()
    cache, out = folder / "cache", folder / "out"
    values = {**RECIPE, **changes, "output": {"root": str(folder / "runs"), "cache": str(cache)}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    words = [*name.split(), folder / "recipe.yaml"]
    if name == "cache build":
        return words
    return [*words, "--out", out, *(("--jobs", "2") if name == "compare" else ())]


def undisturbed(name, changes, folder):
    killed_and_resumed(commands(name, changes, folder), folder, [])
    return folder


def check(name, changes, kills, tmp_path, slow_counts, whole=None, number=0):
    """Kill a command, resume it, and compare what it leaves with what is left undisturbed."""
    whole = whole or undisturbed(name, changes, tmp_path / "whole")
    folder = tmp_path / f"killed-{number}"
    words = commands(name, changes, folder)
    resume = () if name == "cache build" else ("--resume",)
    done, lines = killed_and_resumed(words, folder, kills, resume=resume)
    slow_counts("kills", done)
    for part in ("out", "cache"):
        if (whole / part).is_dir():
            # A comparison's table has the folder's name in it.
            assert_equal_contents(whole / part, folder / part)
    assert not leftovers(folder), leftovers(folder)
    slow_counts("resumed equal", done)
    assert all("stopped; " in line for line in lines), lines
    return folder, done


def test_a_run_that_is_killed_while_it_trains_and_while_it_writes(tmp_path, slow_counts):
    changes, whole = {"method": "kd"}, tmp_path / "whole"
    words = commands("run", changes, whole)
    # In this process, which saves the start of another one.
    limbeck.run(words[1], out=words[3])
    kills = [
        Kill(signal.SIGTERM, 60, "out/checkpoints/last/state.pt"),
        Kill(signal.SIGKILL, 60, "out/checkpoints/last/.*.partial"),
    ]
    folder, done = check("run", changes, kills, tmp_path, slow_counts, whole)
    assert done == 2
    text = "\n".join(lines_of(folder))
    assert "limbeck: stopped; saved after step " in text
    assert "of epoch 1 of 4 (" in text
    assert text.count("resuming after ") == 2


CASES = {
    "kd": ("run", {"method": "kd"}),
    "lw_kd": ("run", {"method": "lw_kd"}),
    "influence": ("run", {"method": {"name": "lr_ds", "scorer": "influence", "proxy_epochs": 3}}),
    "self": ("run", {"method": "dr_kd", "teacher": {**RECIPE["teacher"], "source": "self", "cache": "off"}}),
    "two processes": ("run", {"method": "dist", "training": {**TRAINING, "devices": 2, "batch_size": 15}}),
    "compare": ("compare", {}),
    "cache": ("cache build", {}),
}
PARTIAL = {
    "kd": [
        "cache/teachers/*.partial/checkpoints/.*.partial",
        "cache/teachers/*/.*.partial",
        "out/.summary.json*.partial",
    ],
    "lw_kd": ["cache/lightweight/*.partial", "cache/lightweight/*/.*.partial", "out/.student.safetensors*.partial"],
    "influence": ["out/checkpoints/proxy/.*.partial", "out/.metrics.csv*.partial"],
    "self": ["cache/teachers/*/.*.partial"],
    "two processes": ["out/checkpoints/last/.*.partial"],
    "compare": ["out/.table.md*.partial", "out/kd/seed-0/checkpoints/last/.*.partial"],
    "cache": ["cache/teachers/*.partial/checkpoints/.*.partial", "cache/logits/*/*"],
}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_to_every_process_of_a_run_with_loader_workers(number, tmp_path, slow_counts):
    """Schedulers send it to the loader's processes too, and the update under way needs its batch."""
    write_classes(tmp_path / "photos", classes=("cat", "dog", "cow", "owl"), each=25)
    data = {"name": "image_folder", "root": str(tmp_path / "photos"), "size": 16, "workers": 2}
    changes = {"method": "none", "data": {**data, "augment": {"flip": True}}}
    kills = [Kill(number, 60, "out/checkpoints/last/state.pt", group=True)]
    folder, done = check("run", changes, kills, tmp_path, slow_counts)
    assert done == 1
    assert any("stopped; saved after step " in line for line in lines_of(folder))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_random_moments(case, tmp_path, slow_counts):
    """Seven kills at random and those in the middle of writing, of each command."""
    name, changes = CASES[case]
    whole = undisturbed(name, changes, tmp_path / "whole")
    at_files = [Kill(signal.SIGKILL, 60, pattern) for pattern in PARTIAL[case]]
    assert check(name, changes, at_files, tmp_path, slow_counts, whole)[1] >= 1
    seconds = {"compare": 12.0, "two processes": 8.0}.get(case, 4.0)
    done = number = 0
    while done < 7:
        number += 1
        kills = random_kills(3, seconds, seed=100 * number + len(case))
        done += check(name, changes, kills, tmp_path, slow_counts, whole, number)[1]
