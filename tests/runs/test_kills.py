"""Commands that are killed, at random moments and in the middle of writing, and resumed: the results are the same."""

import signal

import pytest
import yaml

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
    """Return the words of a command in a folder of its own, and the function that is true once it has begun."""
    folder.mkdir()
    cache, out = folder / "cache", folder / "out"
    values = {**RECIPE, **changes, "output": {"root": str(folder / "runs"), "cache": str(cache)}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    words = [*name.split(), folder / "recipe.yaml"]
    if name == "cache build":
        return words, cache.is_dir
    return [*words, "--out", out, *(("--jobs", "2") if name == "compare" else ())], out.is_dir


def undisturbed(name, changes, folder):
    words, begun = commands(name, changes, folder)
    killed_and_resumed(words, folder, [], begun=begun)
    return folder


def check(name, changes, kills, tmp_path, slow_counts, whole=None, number=0):
    """Kill a command, resume it, and compare what it leaves with what is left undisturbed."""
    whole = whole or undisturbed(name, changes, tmp_path / "whole")
    folder = tmp_path / f"killed-{number}"
    words, begun = commands(name, changes, folder)
    resume = () if name == "cache build" else ("--resume",)
    done, lines = killed_and_resumed(words, folder, kills, begun=begun, resume=resume)
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
    kills = [
        Kill(signal.SIGTERM, 60, "out/checkpoints/last/state.pt"),
        Kill(signal.SIGKILL, 60, "out/checkpoints/last/.*.partial"),
        Kill(signal.SIGINT, 60, "out/checkpoints/last/previous.pt"),
    ]
    folder, done = check("run", {"method": "kd"}, kills, tmp_path, slow_counts)
    assert done == 3
    text = "\n".join(lines_of(folder))
    assert "limbeck: stopped; saved after step " in text
    assert "of epoch 1 of 4 (" in text
    assert text.count("resuming after ") == 3


CASES = {
    "kd": ("run", {"method": "kd"}),
    "lw_kd": ("run", {"method": "lw_kd"}),
    "influence": ("run", {"method": {"name": "lr_ds", "scorer": "influence", "proxy_epochs": 3}}),
    "self": ("run", {"method": "dr_kd", "teacher": {**RECIPE["teacher"], "source": "self", "cache": "off"}}),
    "compare": ("compare", {}),
    "cache": ("cache build", {}),
}
PARTIAL = {
    "kd": ["teachers/*.partial/checkpoints/.*.partial", "teachers/*/.*.partial", ".summary.json*.partial"],
    "lw_kd": ["lightweight/*.partial", "lightweight/*/.*.partial", ".student.safetensors*.partial"],
    "influence": ["checkpoints/proxy/.*.partial", ".metrics.csv*.partial"],
    "self": ["teachers/*/.*.partial"],
    "compare": [".table.md*.partial", "kd/seed-0/checkpoints/last/.*.partial"],
    "cache": ["teachers/*.partial/checkpoints/.*.partial", "logits/*/*"],
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_random_moments(case, tmp_path, slow_counts):
    """Seven kills at random and those in the middle of writing, of each command."""
    name, changes = CASES[case]
    whole = undisturbed(name, changes, tmp_path / "whole")
    at_files = [Kill(signal.SIGKILL, 60, pattern) for pattern in PARTIAL[case]]
    assert check(name, changes, at_files, tmp_path, slow_counts, whole)[1] >= 1
    seconds = {"compare": 12.0}.get(case, 4.0)
    done = number = 0
    while done < 7:
        number += 1
        kills = random_kills(3, seconds, seed=100 * number + len(case))
        done += check(name, changes, kills, tmp_path, slow_counts, whole, number)[1]
