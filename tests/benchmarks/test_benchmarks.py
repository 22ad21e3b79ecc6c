"""The benchmarks' own arithmetic and tables, and that their competitors compute the same."""

import importlib
import json
from pathlib import Path

import pytest
import torch

import limbeck
from data_layouts import write_cifar100_binary
from limbeck import losses
from limbeck.errors import UserError
from limbeck.recipes.loading import load_recipe

FOLDER = Path(__file__).parents[2] / "benchmarks"


def logits(rows=16, classes=10):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(rows, classes, generator=generator) for _ in range(2))
    return student, teacher, torch.randint(classes, (rows,), generator=generator)


def test_a_table_has_every_column_and_its_origin(script, tmp_path, monkeypatch, capsys):
    record = script("record")
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    record.record("one", "Title", [{"a": 1}, {"a": 2, "b": 3}], ["a note"], show=False)
    text = (tmp_path / "one.md").read_text()
    assert "| a | b |" in text
    assert "| 1 |  |" in text
    assert "| 2 | 3 |" in text
    assert "- a note" in text
    assert f"torch {torch.__version__.partition('+')[0]}" in text
    assert json.loads((tmp_path / "one.json").read_text())["rows"][1] == {"a": 2, "b": 3}
    assert not capsys.readouterr().out
    record.record("two", "Title", [{"a": 1}])
    assert "| a |" in capsys.readouterr().out


def test_loops_take_turns_and_another_begins_each_round(script):
    harness, calls = script("harness"), []
    loops = {name: lambda epoch, name=name: calls.append((epoch, name)) for name in "abc"}
    taken = harness.in_turns(loops, 3)
    orders = ["".join(name for number, name in calls if number == epoch) for epoch in range(4)]
    assert orders == ["abc", "abc", "bca", "cab"]
    assert {name: len(values) for name, values in taken.items()} == {"a": 3, "b": 3, "c": 3}
    assert harness.ratios({"a": [1, 4], "b": [2, 2]}, "a", "b") == [0.5, 2]
    assert (harness.middle([3, 1, 2]), harness.span([3, 1, 2], 1)) == (2, "1.0 to 3.0")


def test_without_data_the_error_names_the_option(script, monkeypatch):
    monkeypatch.delenv("LIMBECK_SHARED", raising=False)
    with pytest.raises(UserError, match="CIFAR-100: expected --root"), script("harness").cifar100_root():
        pass


def test_trimmed_images_are_the_first_ones(script, tmp_path):
    write_cifar100_binary(tmp_path / "all", train=100, test=100)
    (tmp_path / "few").mkdir()
    whole = limbeck.data.load("cifar100", root=tmp_path / "all")
    few = limbeck.data.load(
        "cifar100", root=script("harness").trimmed(tmp_path / "all", tmp_path / "few", train=3, test=2)
    )
    assert (len(few.train), len(few.test), few.classes) == (3, 2, whole.classes)
    assert torch.equal(few.train.images, whole.train.images[:3])
    assert torch.equal(few.test.labels, whole.test.labels[:2])


def test_a_filled_cache_returns_the_teachers_logits(script, tmp_path):
    harness = script("harness")
    bench = harness.Bench(harness.random_images(12, (3, 8, 8), 10), classes=10, batch_size=4, precision="fp32")
    teacher = harness.settled(harness.network("resnet8", classes=10, width=0.25), (3, 8, 8))
    cached = bench.cached(teacher, tmp_path, epochs=2)
    assert len(cached.store) >= 12
    before = len(cached.store)
    for epoch in range(2):
        for inputs, labels, indices in bench.views.epoch(epoch):
            torch.testing.assert_close(cached(inputs, labels, indices, epoch), teacher(inputs), rtol=2**-11, atol=1e-4)
    assert len(cached.store) == before
    means = bench.loop(harness.network("resnet8", classes=10, width=0.25), cached, "kd")(0)
    assert means["kd"] > 0


def test_settled_logits_are_neither_huge_nor_tiny(script):
    harness = script("harness")
    raw, shape = harness.network("resnet56", width=0.25), (3, 16, 16)
    with torch.no_grad():
        before = raw.eval()(torch.randn(4, *shape)).abs().max()
        after = harness.settled(raw, shape)(torch.randn(4, *shape)).abs().max()
    assert 0.01 < after < 100
    assert after != before


def test_the_plain_loop_has_the_losses_of_limbeck(script):
    peers, (student, teacher, labels) = script("peers"), logits()
    ce = torch.nn.functional.cross_entropy(student, labels)
    kd = 0.1 * ce + 0.9 * losses.kd_loss(student, teacher)
    dist = ce + losses.dist_loss(student, teacher, temperature=4, beta=2, gamma=2)
    torch.testing.assert_close(peers.plain_loss("kd", student, teacher, labels), kd)
    torch.testing.assert_close(peers.plain_loss("dist", student, teacher, labels), dist)


@pytest.mark.parametrize("method", ["kd", "dist"])
def test_torchdistill_is_configured_for_the_same_loss(script, method):
    pytest.importorskip("torchdistill")
    peers, (student, teacher, labels) = script("peers"), logits()
    importlib.import_module("torchdistill.core.distillation")
    make = importlib.import_module("torchdistill.losses.registry").get_high_level_loss
    criterion = make(peers.box_settings(method, 16, 0)["criterion"])
    outputs = {"student": {".": {"output": student}}, "teacher": {".": {"output": teacher}}}
    torch.testing.assert_close(criterion(outputs, {}, labels), peers.plain_loss(method, student, teacher, labels))


def test_every_loop_trains_in_the_comparison_with_peers(script, tmp_path):
    peers, harness = script("peers"), script("harness")
    split = harness.random_images(8, (3, 32, 32), 100)
    data = limbeck.data.Data("x", ("a",) * 100, split, None, split, (0.5,) * 3, (0.25,) * 3)
    args = peers.arguments(["--batch-size", "4", "--steps", "2", "--rounds", "1", "--methods", "kd"])
    args.pairs = [("resnet8", "resnet8")]
    rows = peers.measured(data, args, tmp_path)
    by = [row["by"] for row in rows if row["what"].startswith("kd")]
    assert by[-5:] == [
        peers.PLAIN,
        *(f"limbeck {source}, {way}" for source in ("live", "cached") for way in peers.OURS),
    ]
    assert [row["by"] for row in rows[-2:]] == [peers.PLAIN, "limbeck"]
    assert all(row["images/s"] > 0 for row in rows if row["seconds a step"] != "not installed")


def test_distinct_views_and_what_they_come_to(script):
    compare = script("compare")
    assert compare.distinct(1) == pytest.approx(1)
    assert compare.distinct(10**6) == pytest.approx(162)
    draws = torch.randint(162, (2000, 100), generator=torch.Generator().manual_seed(0))
    assert compare.distinct(100) == pytest.approx(sum(len(row.unique()) for row in draws) / 2000, rel=0.01)
    row = compare.extrapolated(1e-3, 1e-3, methods=5, jobs=1)
    assert 1.9 < row["cached is faster by"] < 2
    assert compare.extrapolated(1e-3, 0, methods=5, jobs=1)["cached is faster by"] == 1


@pytest.mark.parametrize("path", sorted((FOLDER / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_of_results_can_be_read(path):
    recipe = load_recipe(path, trust=True)
    assert {"none", "kd", "dist"} <= set(recipe.compare.methods)


def test_the_three_ways_of_the_crops_are_recipes(script, tmp_path):
    crops = script("crops")
    args = crops.arguments([])
    recipes = {name: load_recipe(crops.recipe(args, tmp_path, way)) for name, way in crops.WAYS.items()}
    assert [recipes[name].teacher.cache for name in (crops.SHARED, crops.OWN, crops.LIVE)] == [
        "epochs",
        "epochs",
        "off",
    ]
    assert [recipes[name].data.view_seed for name in (crops.SHARED, crops.OWN)] == [0, None]


def test_reading_a_table_is_measured(script, tmp_path):
    found = script("scaling").read_table(tmp_path, samples=100, classes=10)
    assert found["epoch (s)"] > 0
    assert found["cache (MB)"] == pytest.approx(2 * 100 * (10 * 2 + 4) / 1e6)
    assert script("scaling").peak() > 100


def test_every_loss_is_measured(script):
    row = script("scaling").loss_rows([(16, 10)], 2)[0]
    assert (row["rows"], row["classes"]) == (16, 10)
    assert all(value > 0 for value in row.values())


def accuracy_arguments(script, tmp_path, *words):
    return script("accuracy").arguments([*words, "--out", str(tmp_path)])


def finish(row, accuracy):
    row.folder.path.mkdir(parents=True)
    figures = {"epoch": 30, "test.ece": 0.1, "test.loss": 1.0, "training.seconds": 60.0}
    row.folder.write_summary({**figures, "test.accuracy": accuracy})
    epochs = [
        {"seconds": 2.0, "samples_per_second": 100.0, "test.accuracy": value} for value in (accuracy + 0.01, accuracy)
    ]
    row.folder.write_metrics(epochs)


def test_the_accuracy_table_fills_row_by_row(script, tmp_path):
    accuracy, args = script("accuracy"), accuracy_arguments(script, tmp_path, "--budget", "cpu")
    rows = accuracy.plan(Path("data"), args)
    assert accuracy.table(rows, args) == []
    finish(rows[1], 0.70)
    finish(next(row for row in rows if (row.pair, row.method, row.seed) == (rows[1].pair, "kd", 1)), 0.72)
    (line,) = accuracy.table(rows, args)
    assert (line["pair"], line["method"], line["seeds"]) == ("resnet56 -> resnet20", "kd", 2)
    assert line["last epoch (%)"] == "71.00 +- 1.41"
    assert line["best epoch on test (%)"] == "72.00 +- 1.41"
    assert line["views x epochs"] == "1 x 30"
    assert line["published (%)"] == "70.66 (not comparable)"


def test_the_papers_budget_has_the_papers_settings(script, tmp_path):
    accuracy, args = script("accuracy"), accuracy_arguments(script, tmp_path, "--budget", "paper")
    rows = {(row.pair, row.method, row.seed): row.recipe for row in accuracy.plan(Path("data"), args)}
    assert len(rows) == 9 * 11 * 3
    first = rows["resnet56 -> resnet20", "dist", 0]
    assert (first.training.epochs, first.training.optimizer.lr, first.training.drop_last) == (240, 0.05, True)
    assert first.training == first.teacher.training
    assert first.method.model_extra == {"beta": 2, "gamma": 2, "temperature": 4}
    assert rows["resnet56 -> resnet20", "dkd", 2].method.model_extra == {"alpha": 1, "beta": 2, "warmup": 20}
    assert rows["resnet32x4 -> resnet8x4", "dkd", 0].method.model_extra == {"alpha": 1, "beta": 8, "warmup": 20}
    control = rows["resnet56 -> resnet20", "lr_ds@random", 0].method
    assert (control.name, control.model_extra) == ("lr_ds", {"scorer": "random"})
    gentle = rows["resnet32x4 -> shufflenetv2", "kd", 0]
    assert gentle.training.optimizer.lr == pytest.approx(0.01)
    assert gentle.teacher.training.optimizer.lr == 0.05
    assert accuracy.beside("resnet56 -> resnet20", "dist", args)["published (%)"] == "71.75 +- .30"


def test_published_numbers_stand_beside_the_same_teacher_only(script, tmp_path):
    accuracy, pair = script("accuracy"), "resnet56 -> resnet20"
    args = accuracy_arguments(script, tmp_path, "--teacher", "micronet", "training.epochs=2")
    assert accuracy.beside(pair, "kd", args) == {"published (%)": "", "source": ""}
    assert accuracy.beside(pair, "none", args)["published (%)"].startswith("69.06")
    assert accuracy.beside(pair, "lr", args)["source"] == ""
    assert accuracy.shown(pair, args) == "MicroNet -> resnet20"
    assert script("accuracy_plan").recipe_of(pair, "kd", 0, Path("data"), args).training.epochs == 2


def test_the_rows_of_a_study_differ_in_one_setting(script, tmp_path):
    studies = script("studies")
    for name, key in (("selection", "scorer"), ("lightweight", "temperature")):
        study, args = studies.STUDIES[name], studies.arguments([name, "--out", str(tmp_path)])
        for data in study.sets:
            recipe = limbeck.runs.load_recipe(studies.recipe(data, tmp_path, args))
            assert recipe.compare.methods == study.methods
            assert study.control in study.methods
            composed = [recipe.compare.method(row).composed.settings for row in study.settings]
            rows = [next(iter(settings.values())) for settings in composed]
            assert len({settings.pop(key) for settings in rows}) == len(rows)
            assert all(settings == rows[0] for settings in rows)


def test_differences_are_taken_seed_by_seed(script):
    studies = script("studies")
    one, other = (
        studies.Measured(name, values, (0.01, 0.03), (1.0, 1.5))
        for name, values in (("kd", (0.70, 0.80)), ("none", (0.69, 0.81)))
    )
    line = studies.line("data", one, other)
    assert (line["over none"], line["validation accuracy (%)"]) == ("+0.00 +- 1.41", "75.00 +- 7.07")
    assert (line["ECE (%)"], line["NLL"]) == ("2.0", "1.250")
    assert studies.line("data", other, other)["over none"] == ""


def test_every_published_number_has_a_source(script):
    published = script("published")
    for pair, numbers in published.PUBLISHED.items():
        assert all(published.source(pair, method) for method in numbers)
        assert set(pair.split(" -> ")) <= set(limbeck.models.names())


def test_auto_stands_beside_the_best_of_four(script, monkeypatch):
    precision = script("precision")
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    student, teacher = precision.rows(["mobilenetv2"], batch=4, steps=1, rounds=2)
    assert (student["auto"], teacher["auto"]) == ("fp32 channels_last", "bf16 channels_last")
    for measured in (student, teacher):
        times = [value for key, value in measured.items() if key.endswith("(ms)")]
        assert len(times) == 4
        assert measured["auto / best"] >= 1
    chosen = precision.row("x", "student", 0.0, "a", {"a": [3.0, 2.0], "b": [1.0, 4.0]}, steps=1)
    assert (chosen["auto / best"], chosen["noise"], chosen["a (ms)"]) == (2.0, 2.5, 2000.0)


def test_the_least_spread_is_measured_row_by_row(script, tmp_path):
    spread = script("spread")
    inputs, labels = torch.randn(400, 6, generator=torch.Generator().manual_seed(0)), torch.arange(400) % 2
    inputs[:, 0] += 4 * labels
    samples = spread.Samples(inputs, labels, train=200, validation=100, epochs=2)
    teacher = spread.teacher_logits("tiny", samples, tmp_path)
    assert torch.equal(spread.teacher_logits("tiny", samples, tmp_path), teacher)
    assert spread.accuracy(teacher, labels) > 0.9
    run = spread.Run("tiny", "dist", 1.0, "sgd", "zero", 0)
    assert spread.train(run, samples, teacher) > 0.9
    assert not any(parameter.any() for parameter in spread.student_of(run, samples)[-1].parameters())
    args = spread.arguments(["--sets", "tiny", "--seeds", "2", "--methods", "none,dist"])
    planned = spread.plan(args)
    assert len(planned) == len(set(planned)) == 2 * 2 * 2 * (1 + 5)
    done = {run: 0.5, spread.Run("tiny", "dist", 1.0, "sgd", "zero", 1): 0.6}
    line = next(row for row in spread.table(done, args) if (row["method"], row["head"]) == ("dist", "zero"))
    assert (line["optimizer"], line["d = 1"], line["d = 2"]) == ("sgd", "55.0 +- 7.1", "")
