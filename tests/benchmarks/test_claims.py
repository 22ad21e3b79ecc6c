"""The claims: what is run on which images, the arithmetic of their tables, and the whole script on a few images."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import ttest_rel

from limbeck.errors import RunError, UserError
from limbeck.recipes.loading import load_recipe

FOLDER = Path(__file__).parents[2] / "benchmarks"
OTHERS = {"test.ece": 0.1, "test.loss": 1.0, "seconds": 30.0}


def pixels(split):
    return {bytes(image.numpy().tobytes()) for image in split.images}


def lines_of(script, path, figures):
    lines = script("claims_lines").Lines(path, "abc")
    for key, (accuracy, validation) in figures.items():
        lines.add(key, {}, {"test.accuracy": accuracy, "validation.accuracy": validation, **OTHERS})
    return lines


def test_teachers_learn_from_the_students_images_or_from_none_of_them(script):
    sets = script("claims_sets")
    few, more = (sets.load(sets.Images("sample", count), None) for count in (50, 200))
    others = sets.load(sets.Images("sample", 200, others=True), None)
    assert pixels(few.train) < pixels(more.train)
    for data, share in ((few, 0), (others, 200)):
        assert not pixels(data.train) & pixels(data.test)
        assert not pixels(data.train) & pixels(data.validation)
        assert len(pixels(data.train) - pixels(few.train)) == share


def test_labels_are_wrong_as_often_as_asked(script):
    sets = script("claims_sets")
    right = sets.load(sets.Images("sample", 200), None).train
    wrong = sets.load(sets.Images("sample", 200, wrong=0.4), None).train
    permuted = sets.load(sets.Images("sample", 200, circles=1), None).train
    assert torch.equal(right.images, wrong.images)
    assert (right.labels != wrong.labels).sum() == 80
    assert sorted({(int(one), int(two)) for one, two in zip(right.labels, permuted.labels, strict=True)})[:4] == [
        (0, 1),
        (1, 2),
        (2, 0),
        (3, 3),
    ]


def test_a_permuted_teacher_gives_the_permuted_class(script):
    sets, labels = script("claims_sets"), torch.arange(10)
    permuted = sets.Permuted(torch.nn.Identity(), circles=1)(torch.eye(10)[labels])
    assert torch.equal(permuted.argmax(1), sets.in_circles(labels, 1))
    two = sets.Permuted(torch.nn.Identity(), circles=2)(torch.eye(10))
    assert two.argmax(1).tolist() == sets.in_circles(labels, 2).tolist() == [1, 2, 0, 4, 5, 3, 6, 7, 8, 9]
    assert torch.equal(sets.in_circles(labels, 0), labels)


def test_every_row_has_a_recipe_that_limbeck_takes(script):
    plan, budgets = script("claims_plan"), script("claims_budgets")
    sets, rows = script("claims_sets"), plan.plan(budgets.CPU, "abcdefg")
    assert {row.claim for row in rows} == set("abcdefg")
    for row in {row.key: row for row in rows if not row.seed}.values():
        recipe = dict(row.recipe)
        if recipe["method"].get("ratio") == "right":
            recipe["method"] = {**recipe["method"], "ratio": 0.5}
        loaded = load_recipe({**recipe, "data": "fashion_mnist_sample"})
        assert loaded.source() == row.method.source
        assert (row.teacher is not None) == (loaded.source() == "live")
    methods = [method for claim in budgets.CPU.claims for method in claim.methods]
    assert {method.name for method in methods if not plan.available(method)} <= {
        method.name for method in methods if method.name.startswith("tame+")
    }
    for name in [None, *budgets.CPU.teachers]:
        assert name is None or plan.teacher_recipe(budgets.CPU, name)["student"]
    assert sets.Images("fashion", 9, others=True, wrong=0.2).name == "claims_fashion_9_others_wrong20"
    assert [sets.Images("fashion", 9, circles=count).name for count in (0, 1, 10)] == [
        "claims_fashion_9",
        "claims_fashion_9_permuted",
        "claims_fashion_9_permuted30",
    ]


def test_the_rows_that_questions_and_choices_name_exist(script):
    budgets, tables = script("claims_budgets"), script("claims_tables")
    for claim in budgets.CPU.claims:
        labels = tables.order_of(claim)
        assert len(set(labels)) == len(labels)
        assert {label for pair in claim.questions for label in pair} <= set(labels)
        assert "none" in labels


def test_claims_share_the_runs_that_are_the_same(script):
    plan, budget = script("claims_plan"), script("claims_budgets").CPU
    rows = plan.plan(budget, "bcde")
    plain = {row.key for row in rows if row.method.label == "none" and row.regime.setting == "fashion_few"}
    assert len(plain) == budget.seeds
    by_key = {}
    for row in rows:
        assert by_key.setdefault(row.key, (row.recipe, row.teacher)) == (row.recipe, row.teacher)


def test_three_seeds_of_all_claims_come_before_further_seeds(script):
    rows = script("claims_plan").plan(script("claims_budgets").CPU, "abcdefg")
    first = next(number for number, row in enumerate(rows) if row.seed == 3)
    assert {row.seed for row in rows[:first]} == {0, 1, 2}
    assert all(row.seed >= 3 for row in rows[first:])
    assert rows[0].claim == "b"


def test_other_students_of_letters_differ_from_the_first_in_one_thing(script):
    networks, budgets = script("claims_networks"), script("claims_budgets")
    first, differing = networks.SETTINGS["letters_few"], {}
    for name, setting in networks.SETTINGS.items():
        if name.startswith("letters_"):
            differing[name] = [key for key in vars(setting) if getattr(setting, key) != getattr(first, key)]
    assert differing == {
        "letters_few": [],
        "letters_small": ["options"],
        "letters_large": ["options"],
        "letters_gentle": ["lr"],
        "letters_10": ["epochs"],
        "letters_120": ["epochs"],
    }
    regimes = [one for one in budgets.F.regimes if one.setting.startswith("letters_")]
    assert {one.setting for one in regimes} == differing.keys() - {"letters_few"}
    assert {one.teacher for one in regimes if not one.expected} == {"letters_right"}


def test_differences_and_their_interval_are_those_of_scipy(script):
    tables = script("claims_tables")
    one, other = ({seed: {"accuracy": value} for seed, value in enumerate(values)} for values in ONE_AND_OTHER)
    found = tables.difference(one, {**other, 9: {"accuracy": 0.5}, 3: {}})
    low, high = ttest_rel(*(values[:3] for values in ONE_AND_OTHER)).confidence_interval()
    assert found.mean - found.half == pytest.approx(100 * low)
    assert found.mean + found.half == pytest.approx(100 * high)
    assert found.text == f"{found.mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"
    assert tables.difference(one, {}) is None
    two = tables.difference({0: one[0], 1: one[1]}, other)
    assert (two.half, two.sign, two.text) == (None, 0, f"{two.mean:+.2f}")
    assert [tables.Difference(mean, 1.0).sign for mean in (1.5, -1.5, 0.5)] == [1, -1, 0]


ONE_AND_OTHER = ((0.80, 0.82, 0.81, 0.9), (0.79, 0.80, 0.815, 0.7))


def test_a_choice_is_made_on_the_validation_split(script):
    tables = script("claims_tables")
    methods = {
        "kd(a)": {0: {"accuracy": 0.9, "validation": 0.7}, 1: {"accuracy": 0.9, "validation": 0.7}},
        "kd(b)": {0: {"accuracy": 0.8, "validation": 0.75}},
    }
    assert tables.best(methods, ["kd(a)", "kd(b)"]) == "kd(b)"
    assert tables.best(methods, ["kd(a)", "kd(c)"]) is None
    methods["kd(b)"][0] = {"failed": "nan"}
    assert tables.best(methods, ["kd(a)", "kd(b)"]) is None


def test_tables_hold_what_is_finished(script, tmp_path):
    plan, tables, budget = script("claims_plan"), script("claims_tables"), script("claims_budgets").CPU
    rows = [row for row in plan.plan(budget, "c") if row.regime == budget.claims[1].regimes[0]]
    keys = {(row.method.label, row.seed): row.key for row in rows}
    figures = {keys["none", seed]: (0.80 + 0.01 * seed, 0.8) for seed in range(3)}
    figures |= {keys["dr_kd", seed]: (0.78 + 0.01 * seed, 0.8) for seed in range(3)}
    lines = lines_of(script, tmp_path / "lines.jsonl", figures)
    lines.add(keys["tf_kd_self", 0], {"failed": "nan"}, {})
    results = tables.collect(budget.claims[1], rows, lines)
    none, tf_kd, dr_kd = tables.main_table(results)
    assert (none["method"], none["accuracy (%)"], none["over none"], none["seeds"]) == ("none", "81.00 +- 1.00", "", 3)
    assert (tf_kd["accuracy (%)"], tf_kd["seeds"]) == ("", "0, 1 failed")
    assert dr_kd["over none"] == "-2.00 [-2.00, -2.00]"
    name = budget.claims[1].regimes[0].name
    assert tables.pair_table(results) == [
        {"difference": "(the claim must hold)", name: "yes"},
        {"difference": "dr_kd - none", name: "-2.00 [-2.00, -2.00]"},
    ]
    assert list(tables.verdicts(results)) == [
        "dr_kd against none: ahead in 0, behind in 1, undecided in 0 of 1 regime."
    ]
    assert tables.cost(results).startswith("7 runs, 3 core minutes")


def test_a_line_that_was_cut_off_is_computed_again(script, tmp_path):
    path = tmp_path / "lines.jsonl"
    lines_of(script, path, {"one": (0.5, 0.5), "two": (0.6, 0.6)})
    path.write_text(path.read_text()[:-20])
    again = lines_of(script, path, {})
    assert "one" in again
    assert "two" not in again
    again.add("two", {}, {"test.accuracy": 0.7, "seconds": 1.0})
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["one", "two"]


def test_published_runs_are_not_made_again(script, tmp_path):
    module = script("claims_lines")
    first = module.Lines(tmp_path / "one.jsonl", "abc")
    first.add("one", {}, {"test.accuracy": 0.5, "seconds": 2.0})
    first.publish(tmp_path / "recorded.jsonl")
    second = module.Lines(tmp_path / "two.jsonl", "abc", tmp_path / "recorded.jsonl")
    assert "one" in second
    second.add("two", {}, {"test.accuracy": 0.7, "seconds": 1.0})
    assert [json.loads(line)["key"] for line in (tmp_path / "two.jsonl").read_text().splitlines()] == ["two"]
    second.publish(tmp_path / "recorded.jsonl")
    assert len((tmp_path / "recorded.jsonl").read_text().splitlines()) == 2


def test_a_run_with_former_defaults_is_made_again(script, tmp_path):
    plan, budget = script("claims_plan"), script("claims_budgets").CPU
    row = next(row for row in plan.plan(budget, "b") if row.method.label == "lr")
    lines = lines_of(script, tmp_path / "lines.jsonl", {})
    assert not lines.done(row)
    for eta, expected in ((0.8, True), (0.7, False)):
        lines.add(row.key, {"settings": {"lr": {"eta": eta}}}, {"test.accuracy": 0.7, "seconds": 1.0})
        assert lines.done(row) == expected
        assert (len(script("claims").left([row], lines)) == 0) == expected
    assert json.loads(json.dumps(row.method.composed().settings)) == row.method.composed().settings


@pytest.mark.parametrize(
    ("letter", "label", "name", "then", "expected"),
    [
        ("b", "lr_ds@random", "lr_ds", {"max_confidence": "auto"}, True),
        ("b", "lr_ds@random", "lr_ds", {"ratio": 0.5}, False),
        ("b", "lr_ds", "lr_ds", {"max_confidence": "auto"}, False),
        ("b", "lr", "lr", {"temperature": 2.0}, False),
        ("e", "lr+dist, weight auto", "lr", {"temperature": 4.0}, True),
    ],
)
def test_a_default_without_effect_in_a_run_leaves_it_done(script, tmp_path, letter, label, name, then, expected):
    plan, budget = script("claims_plan"), script("claims_budgets").CPU
    row = next(row for row in plan.plan(budget, letter) if row.method.label == label)
    lines = lines_of(script, tmp_path / "lines.jsonl", {})
    settings = row.method.composed().settings
    lines.add(row.key, {"settings": {**settings, name: {**settings[name], **then}}}, {"test.accuracy": 0.7})
    assert lines.done(row) is expected


@pytest.mark.slow
def test_the_script_runs_every_row_once(script, tmp_path, monkeypatch, capsys):
    claims, page, record = script("claims"), script("claims_page"), script("record")
    words = ["--out", str(tmp_path)]
    claims.main(words)
    printed, lines = capsys.readouterr().out, (tmp_path / "lines.jsonl").read_text()
    assert printed.count("# (") == 7
    assert not (FOLDER / "results" / "claims-smoke-b.md").exists()
    claims.main([*words, "--list"])
    assert re.search(r"all: (\d+) of \1 runs,", capsys.readouterr().out)
    claims.main(words)
    assert (tmp_path / "lines.jsonl").read_text() == lines
    monkeypatch.setattr(page, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(page, "DOCS", tmp_path / "docs")
    claims.main([*words, "--publish"])
    assert len(list((tmp_path / "results").iterdir())) == 7 * 4 + 1
    text = (tmp_path / "docs" / "claims.md").read_text()
    for letter in "abcdefg":
        assert f"--only {letter}`" in text
        assert (tmp_path / "docs" / "images" / f"claims-{letter}.png").stat().st_size > 5000
    assert "lr_ds@oracle" in text
    assert record.RESULTS == FOLDER / "results"


def test_an_unknown_claim_is_refused(script):
    with pytest.raises(UserError, match="--only: got b,x, expected some of b,c,"):
        script("claims").arguments(["--only", "b,x"])


def test_a_failed_training_is_a_line_and_a_mistake_is_none(script, tmp_path, monkeypatch, capsys):
    claims, plan, budget = script("claims"), script("claims_plan"), script("claims_budgets").SMOKE
    budget = replace(budget, claims=budget.claims[1:2])
    lines, (first, second, *_) = lines_of(script, tmp_path / "lines.jsonl", {}), plan.plan(budget, "c")

    def failing(error):
        def train(*_):
            raise error

        return train

    monkeypatch.setattr(claims, "train", failing(RunError("the loss is nan")))
    claims.run_row(first, lines, tmp_path)
    monkeypatch.setattr(claims, "train", failing(UserError("no such folder")))
    claims.run_row(second, lines, tmp_path)
    assert lines[first.key]["failed"] == "the loss is nan"
    assert second.key not in lines
    assert "no such folder" in capsys.readouterr().out
