"""``limbeck check``: what it finds, what it estimates, and that it trains, downloads and writes nothing."""

import pytest
import torch

import limbeck
from data_layouts import write_classes
from limbeck.build.trial import Trial
from limbeck.errors import UserError
from limbeck.runs import costs


@pytest.fixture
def command(request):
    """The command of the fixture ``limbeck``, whose name here is the package's."""
    return request.getfixturevalue("limbeck")


def compared(recipe, *methods, **compare):
    return {**recipe, "compare": {"methods": methods, **compare}}


def test_a_recipe_is_described_and_nothing_is_written(tiny, tmp_path):
    before, state = sorted(tmp_path.rglob("*")), torch.random.get_rng_state()
    cache = {"output.cache": str(tmp_path / "cache")}
    checked = limbeck.check(compared(tiny, "none", "kd", "lr_ds", seeds=2), overrides=cache)
    assert (checked.problems, checked.warnings) == ((), ())
    assert sorted(tmp_path.rglob("*")) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert list(checked.sections) == ["data", "networks", "teacher", "time", "memory", "downloads"]
    student = limbeck.models.create("resnet8", num_classes=10, in_channels=1, width=0.25)
    assert checked.figures["student.parameters"] == sum(p.numel() for p in student.parameters())
    assert checked.figures["teacher.multiply_adds"] > checked.figures["student.multiply_adds"] > 0
    assert checked.sections["teacher"] == ("teacher: is trained by the first run, and not measured before",)
    assert any("limbeck compare: 3 methods x 2 seeds" in line for line in checked.sections["time"])
    assert all(seconds > 0 for name, seconds in checked.figures.items() if name.startswith("time."))


def test_a_teacher_that_is_there_is_measured_and_later_runs_need_not(tiny, tmp_path):
    cache = {"output.cache": str(tmp_path / "cache"), "method": "kd"}
    done = limbeck.run(tiny, overrides=cache, out=tmp_path / "run")
    checked = limbeck.check(tiny, overrides={**cache, "data.test_limit": 25})
    trained, measured = checked.sections["teacher"]
    assert "before this run" in trained
    assert measured.startswith("teacher resnet8: test accuracy")
    limbeck.run(tiny, overrides={**cache, "data.test_limit": 25}, out=tmp_path / "other")
    assert "(measured before)" in (tmp_path / "other" / "log.txt").read_text()
    again = limbeck.check(tiny, overrides=cache)
    assert again.figures["teacher.test.accuracy"] == done.summary["teacher.test.accuracy"]
    assert not any("training of teacher" in line for line in again.sections["time"])


def test_methods_that_cannot_run_are_named_and_the_others_described(tiny, tmp_path, command):
    tiny["teacher"] = "resnet8"
    checked = limbeck.check(compared(tiny, "none", "kd", "dist", "tf_kd_reg"))
    reason = "teacher resnet8: has no weights, expected teacher.weights or teacher.training"
    assert checked.problems == (f"kd: {reason}", f"dist: {reason}")
    assert {name for name in checked.figures if name.startswith("time.")} == {
        "time.none",
        "time.tf_kd_reg",
        "time.comparison",
    }
    code, out, err = command(
        "check", "quickstart", "data.train_limit=100", "teacher={name: resnet8}", "compare.methods=none,kd"
    )
    assert code == 2
    assert err == f"limbeck: kd: {reason}; dist: {reason}\n"
    assert "none: " in out
    assert not (tmp_path / "runs").exists()


def test_the_command_prints_warnings_and_ends_with_0(command):
    words = ["data.train_limit=100", "method=dkd", "training.epochs=5", "compare.methods=none"]
    code, out, err = command("check", "quickstart", *words)
    assert (code, err) == (0, "")
    assert "warning: dkd: dkd without warmup fell below no teacher" in out
    for title in ("data:", "networks:", "teacher:", "time:", "memory:", "downloads:"):
        assert f"{title}\n" in out


def test_nothing_is_downloaded(tiny, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a download")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    write_classes(tmp_path / "photos", each=25)
    data = {"name": "image_folder", "root": str(tmp_path / "photos"), "size": 32}
    teacher = {"name": "torchvision:resnet18", "weights": "DEFAULT", "classes": {"cat": 281, "dog": 207}}
    recipe = {**tiny, "data": data, "teacher": teacher}
    checked = limbeck.check(compared(recipe, "none", "kd"))
    assert checked.problems == ()
    assert checked.sections["downloads"] == (
        "teacher torchvision:resnet18: its weights DEFAULT, unless torchvision has them already",
    )
    assert checked.sections["teacher"] == ("teacher: its weights are not there, so that it is not measured",)
    assert not any("training of teacher" in line for line in checked.sections["time"])
    # The thousand columns of ImageNet are those of the structure that was timed.
    assert checked.figures["teacher.parameters"] == 11_689_512
    student = {"name": "torchvision:resnet18", "weights": "DEFAULT"}
    checked = limbeck.check(compared({**recipe, "student": student}, "none", "dr_kd"))
    assert checked.problems == (
        "dr_kd: student.weights: got a file, expected none beside a self-teacher, which is trained from scratch",
    )


def test_data_that_a_run_would_download_are_one_line(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.data.images.loading.download_files", lambda *_: pytest.fail("a download"))
    recipe = {**tiny, "data": {"name": "mnist", "root": str(tmp_path / "none"), "download": True}}
    with pytest.raises(UserError, match="data.download: the files of mnist are not there yet, and the first run gets"):
        limbeck.check(recipe)
    with pytest.raises(UserError, match="set download: true"):
        limbeck.check(recipe, overrides={"data.download": False})


def test_pixels_are_not_stored(tiny, tmp_path):
    write_classes(tmp_path / "photos", each=25)
    data = {"name": "image_folder", "root": str(tmp_path / "photos"), "size": 32, "store": "disk"}
    overrides = {"output.cache": str(tmp_path / "cache")}
    checked = limbeck.check(compared({**tiny, "data": data}, "none"), overrides=overrides)
    assert any("runs make them from stored pixels (data.store)" in line for line in checked.sections["time"])
    assert not (tmp_path / "cache").exists()
    with pytest.raises(UserError, match="data.store: got 'disk', but mnist is no image folder"):
        limbeck.check(tiny, overrides={"data.store": "disk"})


def test_what_a_comparison_takes(tiny, monkeypatch):
    """Three steps and two epochs a run: 1 s a step, 10 s a measurement, 2 s a batch of the teacher's."""
    monkeypatch.setattr(costs, "tried", lambda *_: Trial(steps=3, loading=0.0, step=1.0, measuring=10.0))
    monkeypatch.setattr(costs, "forward_seconds", lambda *_: 2.0)
    methods = ("none", "kd", "lr_ds", "dr_kd", "lw_kd")
    found = limbeck.check(compared(tiny, *methods, seeds=3)).figures
    plain, live = 2 * 3 * 1 + 2 * 10, 2 * 3 * 3 + 2 * 10
    times = {"none": plain, "kd": live, "lr_ds": live, "dr_kd": live, "lw_kd": plain}
    assert {name: found[f"time.{name}"] for name in methods} == times
    # The teacher has one epoch; the self-teacher and the two proxies are a plain run each.
    # Each proxy has half of the steps, and is measured as often as a plain run.
    once = (1 * 3 * 1 + 10) + plain + (plain + 2 * 10)
    assert found["time.comparison"] == once + 3 * sum(times.values())
    # Neither the teacher of the recipe's own method nor the proxies are needed for these.
    alone = limbeck.check(compared({**tiny, "method": "kd"}, "none", "lw_kd"))
    assert alone.figures["time.comparison"] == 2 * plain
    assert alone.figures["time.kd"] == live
    cached = limbeck.check(compared(tiny, *methods, seeds=3), overrides={"teacher.cache": "views"})
    # Of 60 images' 25 places twice 6 are drawn, in batches of 20, for each of two teachers.
    filling = 2 * 60 * 50 * (1 - (1 - 1 / 50) ** 6) / 20 * 2
    assert cached.figures["time.comparison"] == pytest.approx(once + filling + 3 * 5 * plain)
    assert len(cached.sections["disk"]) == 2
    # Two epochs of each seed's own views, or the same ones for all seeds.
    for view_seed, passes in ((None, 3), (0, 1)):
        overrides = {"teacher.cache": "epochs", "data.view_seed": view_seed}
        each = limbeck.check(compared(tiny, *methods, seeds=3), overrides=overrides)
        assert each.figures["time.comparison"] == pytest.approx(once + 2 * passes * (60 * 2 / 20 * 2) + 3 * 5 * plain)


@pytest.fixture
def timed(monkeypatch):
    """1 s a step, no time for anything else."""
    monkeypatch.setattr(costs, "tried", lambda *_: Trial(steps=3, loading=0.0, step=1.0, measuring=0.0))
    monkeypatch.setattr(costs, "forward_seconds", lambda *_: 0.0)


@pytest.mark.usefixtures("timed")
def test_a_proxy_of_a_selection_is_trained_in_every_run(tiny):
    settings = {"select+kd": {"scorer": "el2n", "proxy_epochs": 4}}
    found = limbeck.check(compared(tiny, "kd", "select+kd", settings=settings)).figures
    assert found["time.select+kd"] == found["time.kd"] + 4 * 3


@pytest.mark.usefixtures("timed")
def test_unlabeled_images_make_longer_epochs_for_methods_with_a_teacher(tiny, tmp_path):
    write_classes(tmp_path / "photos", each=25)
    write_classes(tmp_path / "more", classes=("others",), each=25)
    data = {"name": "image_folder", "root": str(tmp_path / "photos"), "size": 32, "unlabeled": str(tmp_path / "more")}
    recipe = {**tiny, "data": {**data, "test_share": 0.2}, "method": "kd"}
    for methods in (("none", "kd"), ("kd", "none")):
        found = limbeck.check(compared(recipe, *methods)).figures
        # 40 labeled images in batches of 20, of which half are unlabeled for kd.
        assert (found["time.none"], found["time.kd"]) == (2 * 2, 2 * 4)


@pytest.mark.usefixtures("timed")
def test_weights_that_a_library_has_may_be_trained_further(tiny, tmp_path):
    write_classes(tmp_path / "photos", each=25)
    data = {"name": "image_folder", "root": str(tmp_path / "photos"), "size": 32}
    training = {**tiny["training"], "epochs": 5}
    given = ({"weights": "DEFAULT"}, {"options": {"pretrained": True}})
    for weights in given:
        teacher = {"name": "timm:resnet18", **weights, "training": training}
        checked = limbeck.check(compared({**tiny, "data": data, "teacher": teacher}, "none", "kd"))
        assert checked.sections["downloads"][0].startswith("teacher timm:resnet18: its weights DEFAULT")
        assert "once for all runs: training of teacher timm:resnet18, 15 s" in checked.sections["time"]


@pytest.mark.usefixtures("timed")
def test_members_that_are_trained_already_are_not_trained_again(tiny, tmp_path):
    cache = {"output.cache": str(tmp_path / "cache")}
    limbeck.run({**tiny, "method": "kd"}, overrides=cache, out=tmp_path / "run")
    members = {"members": [tiny["teacher"], {**tiny["teacher"], "seed": 1}]}
    checked = limbeck.check(compared({**tiny, "teacher": members}, "kd"), overrides=cache)
    trainings = [line for line in checked.sections["time"] if "training of" in line]
    assert trainings == ["once for all runs: training of teacher.members.1 resnet8, 3 s"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"teacher.training.batch_size": 900},
            "kd: teacher.training.batch_size: got 900, expected at most 60 images",
        ),
        ({"teacher.train_limit": 10}, "kd: teacher.training.batch_size: got 20, expected at most 10 images"),
        (
            {"teacher.training.schedule.name": "one_cycle", "teacher.training.batch_size": 60},
            "kd: teacher.training.schedule one_cycle: got 1 batches in all, too few for it; try constant",
        ),
        ({"seed": 2**32 - 1, "compare.seeds": 2}, "compare.seeds: got 2 from seed 4294967295 on, expected seeds below"),
    ],
)
def test_what_stops_a_later_part_of_a_run_is_found(tiny, changes, problem):
    checked = limbeck.check(compared(tiny, "none", "kd"), overrides=changes)
    (found,) = checked.problems
    assert found.startswith(problem)
    assert "time.none" in checked.figures


QUICKSTARTS = {
    "text_quickstart": {"data.train_limit": 100, "data.test_limit": 20},
    "table_quickstart": {"data.train_limit": 100, "data.test_limit": 20},
    "segmentation_quickstart": {"data.train_limit": 20, "data.test_limit": 4},
    "detection_quickstart": {"data.train_limit": 8, "data.test_limit": 4},
}


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", QUICKSTARTS)
def test_every_task_is_checked(tmp_path, name, precision):
    settings = {"output.cache": str(tmp_path), "training.precision": precision, **QUICKSTARTS[name]}
    checked = limbeck.check(name, overrides=settings)
    assert checked.problems == ()
    assert checked.figures["time.comparison"] > 0
    uncounted = [line for line in checked.sections["time"] if line.startswith("not counted")]
    untimed = [line for line in uncounted if "forward pass" in line]
    assert len(uncounted) - len(untimed) == (name != "detection_quickstart")
    assert len(untimed) == (name in ("table_quickstart", "detection_quickstart"))
    of_classes = any("of each class" in line or "of a class" in line for line in checked.sections["data"])
    assert of_classes is (name in ("text_quickstart", "table_quickstart"))
