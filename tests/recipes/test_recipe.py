"""Recipes: packaged ones, files, overrides, and every way of getting one wrong."""

import pickle

import pytest
import yaml

from limbeck import methods
from limbeck.errors import UserError
from limbeck.recipes.method_settings import CompareSettings
from limbeck.runs import dump_recipe, load_recipe, packaged, parse_overrides

PACKAGED = (
    "cifar100-resnet32x4-resnet8x4",
    "cifar100-resnet56-resnet20",
    "detection_quickstart",
    "imagenet-deit-tiny",
    "imagenet-teacher",
    "own-images",
    "quickstart",
    "segmentation_quickstart",
    "table_quickstart",
    "text_quickstart",
    "tiny-imagenet-dr-kd",
)


def test_the_packaged_recipes():
    assert packaged() == PACKAGED


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_recipe_is_valid_and_survives_a_round_trip(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert load_recipe(yaml.safe_load(dump_recipe(recipe))) == recipe


@pytest.mark.parametrize("name", PACKAGED[:2])
def test_the_cifar_recipes_are_the_papers(name):
    recipe = load_recipe(name)
    training = recipe.training
    assert (training.epochs, training.batch_size, training.optimizer.lr) == (240, 64, 0.05)
    assert training.schedule.milestones == (150, 180, 210)
    assert training.optimizer.arguments == {"momentum": 0.9, "weight_decay": 5e-4}
    assert training.drop_last
    assert recipe.teacher.training == training
    assert recipe.method.composed.settings["dist"]["temperature"] == 4


def test_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("data: fashion_mnist_sample\nstudent: resnet8\nmethod: none\n")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.data.name, recipe.source()) == ("mine", "fashion_mnist_sample", None)


def test_overrides_reach_groups_that_were_names():
    recipe = load_recipe("quickstart", parse_overrides(["student.options.width=0.5", "method.name=kd", "seed=4"]))
    assert (recipe.student.name, recipe.student.options, recipe.method.name) == ("resnet8", {"width": 0.5}, "kd")


def test_a_plain_off_of_yaml_is_off():
    recipe = load_recipe("quickstart", parse_overrides(["data.store=off", "teacher.cache=off"]))
    assert (recipe.data.store, recipe.teacher.cache) == ("off", "off")


def test_a_name_over_a_group_replaces_its_name_alone():
    recipe = load_recipe("cifar100-resnet56-resnet20", {"data": "cifar10"})
    assert (recipe.data.name, recipe.data.augment.crop) == ("cifar10", 4)


@pytest.mark.parametrize(
    ("method", "source"),
    [("none", None), ("kd", "live"), ("dr_kd", "self"), ("lw_kd", "lightweight"), ("tf_kd_reg", "virtual")],
)
def test_the_teacher_that_a_run_needs(method, source):
    assert load_recipe("quickstart", {"method": method}).source() == source


def test_settings_may_stand_for_methods_that_a_comparison_leaves_out():
    assert load_recipe("quickstart", {"compare.methods": "none,kd"}).compare.methods == ("none", "kd")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [", "mine.yaml, line"),
        ("- a\n- b\n", "got list, expected keys such as data and student"),
        ("", "got NoneType, expected keys"),
        ("student: resnet8\n", "data: missing, expected a value"),
        ("data: mnist\n", "student: missing, expected a value"),
        ("data: mnist\nstudent: resnet8\nstudnet: x\n", "studnet: unknown key 'studnet'; did you mean 'student'?"),
        ("data: {nam: mnist}\nstudent: resnet8\n", "data.nam: unknown key 'nam'; did you mean 'name'?"),
        ("data: 3\nstudent: resnet8\n", "data: got 3"),
        ("data: mnist\nstudent: resnet8\ntraining: {ema: 2}\n", "training.ema: got 2"),
        ("data: mnist\nstudent: resnet8\ntraining: {epochs: true}\n", "epochs: got True, input should be a number"),
        ("data: mnist\nstudent: resnet8\ntraining: {schedule: {milestones: [true, 3]}}\n", "input should be numbers"),
        (
            "data: mnist\nstudent: resnet8\ntraining: {optimizer: {name: sgd, momentum: true}}\n",
            "sgd: momentum: got True, expected a number",
        ),
        ("data: mnist\nstudent: resnet8\ncompare: {methods: [kd, dits]}\n", "unknown method 'dits'"),
        ("data: mnist\nstudent: resnet8\ncompare: {methods: [kd, kd]}\n", "compare.methods: got kd, kd, expected each"),
        (
            "data: mnist\nstudent: resnet8\ncompare: {methods: [kd], settings: {dits: {beta: 1}}}\n",
            "compare.settings.dits: unknown method 'dits'; did you mean 'dts' or 'dist'?",
        ),
        ("data: mnist\nstudent: resnet8\ntraining: {schedule: multi_step}\n", "training.schedule.milestones: missing"),
        (
            "data: mnist\nstudent: resnet8\ntraining: {epochs: 2, schedule: {name: cosine, warmup_epochs: 2}}\n",
            "schedule.warmup_epochs: got 2, expected fewer than the 2 epochs",
        ),
    ],
)
def test_mistakes_in_a_file_are_one_line(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_recipe(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("quikstart", "unknown recipe 'quikstart'; did you mean 'quickstart'"),
        ("nowhere/mine.yaml", "recipe nowhere/mine.yaml: no such file; packaged recipes: cifar100"),
    ],
)
def test_a_recipe_that_is_not_there(source, message):
    with pytest.raises(UserError) as error:
        load_recipe(source)
    assert message in str(error.value)


@pytest.mark.parametrize("word", ["epochs", "=5"])
def test_an_override_without_key_or_value(word):
    with pytest.raises(UserError, match="expected key=value"):
        parse_overrides([word])


def test_a_method_is_composed_once_and_its_settings_compare_by_value():
    recipe, again = load_recipe("quickstart", {"method": "lr+dist"}), load_recipe("quickstart", {"method": "lr+dist"})
    assert recipe.method.composed is recipe.method.composed
    assert recipe.model_copy(update={"seed": 1}).method.composed is recipe.method.composed
    assert recipe.compare.method("dist").composed is recipe.compare.method("dist").composed
    assert recipe.method.composed is not again.method.composed
    assert (recipe == again, recipe == load_recipe("quickstart", {"method": "dist"})) == (True, False)
    assert load_recipe(pickle.loads(pickle.dumps(recipe))) == recipe
    assert "composed" not in dump_recipe(recipe) + repr(recipe)


def test_the_settings_of_a_comparison_are_above_the_defaults_and_a_label_is_above_both():
    compared = CompareSettings(
        methods=("dist", "dist@hot"), settings={"dist": {"beta": 3, "temperature": 2}, "dist@hot": {"temperature": 9}}
    )
    chosen = compared.method("dist@hot", {"beta": 5, "gamma": 7}).composed.settings["dist"]
    assert (chosen["beta"], chosen["gamma"], chosen["temperature"]) == (3, 7, 9)
    assert compared.method("dist", {"gamma": 7}).composed.settings["dist"]["temperature"] == 2
    assert compared.method("dist").composed.settings == methods.create("dist", beta=3, temperature=2).settings
