"""The packaged recipe of ImageNet, on a few tiny images, by the command."""

import json

import pytest

from data_layouts import write_classes

TINY = (
    *("data.size=16", "data.workers=0", "student.name=resnet8", "student.options={}", "teacher.name=resnet8"),
    *("teacher.weights=null", "teacher.training={epochs: 1, batch_size: 8, mix: {mixup: 0.2}}", "training.device=cpu"),
    *("training.epochs=3", "training.batch_size=8", "training.schedule.warmup_epochs=1"),
)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_recipe_runs(limbeck, tmp_path, precision):
    for name in ("train", "val"):
        write_classes(tmp_path / "imagenet" / name, each=8)
    words = [*TINY, f"data.root={tmp_path / 'imagenet'}", f"training.precision={precision}"]
    code, _, err = limbeck("run", "imagenet-deit-tiny", "--out", tmp_path / "run", *words)
    assert code == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["epoch"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["teacher.cache=epochs"],
            "limbeck: training.mix: got mixup 0.8 and cutmix 1 with teacher.cache 'epochs', but",
        ),
        (["data.unlabeled=nowhere"], "limbeck: data.unlabeled: the folder nowhere does not exist"),
        (["task=multilabel"], "limbeck: task 'multilabel': got image_folder, whose samples have one class each"),
        (["data.augment.trivial_augment=true"], "beside trivial_augment, expected only one of the two"),
        (["data.options.labels=lost.csv", "task=multilabel"], "lost.csv: No such file or directory"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(limbeck, tmp_path, words, message):
    for name in ("train", "val"):
        write_classes(tmp_path / "imagenet" / name, each=8)
    words = [*TINY, f"data.root={tmp_path / 'imagenet'}", *words]
    code, _, err = limbeck("run", "imagenet-deit-tiny", "--out", tmp_path / "run", *words)
    assert code == 2
    assert message in err
    assert err.strip().count("\n") == 0
    assert not (tmp_path / "run").exists()
