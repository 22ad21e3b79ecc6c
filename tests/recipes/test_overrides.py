"""`key=value` overrides: a method by its name has its own defaults, in any order; a comparison merges by key."""

from pathlib import Path

import pytest

from limbeck import methods
from limbeck.errors import UserError
from limbeck.runs import load_recipe, packaged, parse_overrides
from limbeck.runs.method_recipes import method_recipe
from limbeck.targets.prior import load_prior


@pytest.mark.parametrize("recipe", packaged())
def test_a_method_by_its_name_has_its_own_defaults_in_every_packaged_recipe(recipe):
    for name in methods.names():
        for key in ("method", "method.name"):
            chosen = load_recipe(recipe, parse_overrides([f"{key}={name}"])).method
            assert chosen.composed.settings == methods.create(name).settings, name


@pytest.mark.parametrize("pairs", [["method=kd", "method.temperature=2"], ["method.temperature=2", "method=kd"]])
def test_the_order_of_a_method_and_its_settings_does_not_matter(pairs):
    recipe = load_recipe("cifar100-resnet56-resnet20", parse_overrides(pairs))
    assert recipe.method.model_extra == {"temperature": 2}
    assert recipe.method.name == "kd"


def test_a_setting_alone_is_the_recipes_methods():
    recipe = load_recipe("cifar100-resnet56-resnet20", parse_overrides(["method.temperature=2"]))
    assert recipe.method.model_extra == {"beta": 2, "gamma": 2, "temperature": 2}


def test_a_comparison_adds_to_what_the_recipes_method_is_set_to():
    overrides = parse_overrides(["compare.settings.dist.temperature=1", "compare.settings.kd.temperature=8"])
    recipe = load_recipe("cifar100-resnet56-resnet20", overrides)
    assert method_recipe(recipe, "dist", seed=0).method.model_extra == {"beta": 2, "gamma": 2, "temperature": 1}
    assert method_recipe(recipe, "kd", seed=0).method.model_extra == {"temperature": 8}
    other = load_recipe(recipe, {"method": "kd"})
    assert method_recipe(other, "dist", seed=0).method.model_extra == {"temperature": 1}


def test_a_label_has_its_own_settings_on_top():
    pairs = ["compare.methods=dist,dist@cold", "compare.settings.dist@cold.temperature=1"]
    recipe = load_recipe("cifar100-resnet56-resnet20", parse_overrides(pairs))
    assert method_recipe(recipe, "dist", seed=0).method.model_extra == {"beta": 2, "gamma": 2, "temperature": 4}
    assert method_recipe(recipe, "dist@cold", seed=0).method.model_extra == {"beta": 2, "gamma": 2, "temperature": 1}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([".".join("a" * 500) + "=1"], "expected a key of at most 10 parts"),
        (["training.epochs.x=" + "y" * 1000], "training.epochs.x="),
        (["x" * 1000], "expected key=value"),
        (["x" * 1000 + "=1"], "unknown key 'xxx"),
        (["training.epochs=" + "9" * 400], "training.epochs=999"),
        (["data.size=" + "9" * 39], "data.size: got 999"),
        (["data.size=1"], "data.size: got 1, input should be greater than or equal to 2"),
        (["teacher.size=1"], "teacher.size: got 1, input should be greater than or equal to 2"),
        (["method=" + "x" * 1000], "unknown method 'xxx"),
        (["name=" + "x" * 1000], "name: got 'xxx"),
        (["training.epochs=[" + "[" * 50 + "]" * 50 + "]"], "nested more than 40 deep"),
        (["data.root=odd\udcff"], "data.root=odd"),
        (["data.root=~nosuchuser/x"], "whose home folder is not known"),
        (["compare.methods=" + ",".join(["kd"] * 500)], "compare.methods: got kd, kd"),
        (["compare.methods=kd@" + "." * 1000], "compare.methods: got 'kd@..."),
        (["Seed=1"], "Seed: unknown key 'Seed'; did you mean 'seed'?"),
        (["int=1"], "int: unknown key 'int'"),
        (["a[b=1"], "a[b: unknown key 'a[b'"),
        (["training.Epochs=1"], "training.Epochs: unknown key 'Epochs'; did you mean 'epochs'?"),
    ],
)
def test_malformed_overrides_give_one_short_line(pairs, message):
    with pytest.raises(UserError) as error:
        load_recipe("quickstart", parse_overrides(pairs))
    line = str(error.value)
    assert message in line
    assert "\n" not in line
    assert len(line) < 800
    line.encode()


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "prior.csv").write_text("0.75,0.25\n0.5,0.5\n")
    assert load_prior(Path("~/prior.csv")).shape == (2, 2)
    keys = ("data.root", "output.root", "output.cache", "teacher.weights", "student.weights")
    recipe = load_recipe("own-images", {**dict.fromkeys(keys, "~/x"), "teacher.training": None})
    paths = (recipe.data.root, recipe.output.root, recipe.output.cache, recipe.teacher.weights, recipe.student.weights)
    assert set(paths) == {tmp_path / "x"}
