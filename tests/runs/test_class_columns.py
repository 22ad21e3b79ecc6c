"""A network that was trained on other classes teaches those of the data: ``teacher.classes``."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

import limbeck
from data_layouts import write_classes
from limbeck.errors import UserError
from limbeck.models.saving import save_network
from limbeck.recipes.loading import load_recipe

COLUMNS = [13, 2, 0, 5, 7, 4, 3, 10, 11, 1]
MODULE = f"""
import torch

def plain(num_classes=10, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, num_classes))

def wide(outputs=14, seed=0):
    network, more = plain(10, seed), plain(outputs, 7)
    with torch.no_grad():
        more[1].weight[{COLUMNS}], more[1].bias[{COLUMNS}] = network[1].weight, network[1].bias
    return more
"""


@pytest.fixture
def recipe(tiny, tmp_path, monkeypatch):
    (tmp_path / "widenets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return {**tiny, "method": "kd", "teacher": "python:widenets:plain"}


def wide(**keys):
    return {"name": "python:widenets:wide", "classes": COLUMNS, **keys}


def run(recipe, out, teacher, **overrides):
    return limbeck.run({**recipe, "teacher": teacher}, overrides=overrides, out=out, trust=True)


def weights(done):
    return load_file(done.folder / "student.safetensors")


def are_equal(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_its_columns_teach_as_a_network_of_these_classes_does(recipe, tmp_path):
    names = [str(digit) for digit in range(10)]
    plain = run(recipe, tmp_path / "plain", "python:widenets:plain")
    listed = run(recipe, tmp_path / "listed", wide())
    cached = run(recipe, tmp_path / "cached", wide(cache="views", cache_dtype="float32"))
    again = run(recipe, tmp_path / "again", wide(cache="views", cache_dtype="float32", classes=[*reversed(COLUMNS)]))
    by_name = dict(zip(reversed(names), reversed(COLUMNS), strict=True))
    named = run(recipe, tmp_path / "named", wide(classes=by_name))
    # More columns may be computed by another kernel, whose last digits differ on some processors.
    assert all(torch.allclose(tensor, weights(listed)[name], atol=1e-5) for name, tensor in weights(plain).items())
    for done in (listed, cached, named):
        assert are_equal(weights(listed), weights(done))
        assert done.summary["teacher.test.accuracy"] == plain.summary["teacher.test.accuracy"]
        assert done.summary["teacher.test.loss"] == pytest.approx(plain.summary["teacher.test.loss"])
    # Other columns are another teacher, whose logits are not those that are stored.
    assert not are_equal(weights(cached), weights(again))
    assert again.summary["teacher.test.loss"] != pytest.approx(plain.summary["teacher.test.loss"])


def test_columns_of_a_file_are_in_the_recipe_of_the_run(recipe, tmp_path):
    file = tmp_path / "columns.json"
    file.write_text(json.dumps(COLUMNS))
    done = run(recipe, tmp_path / "run", wide(classes=str(file)))
    assert yaml.safe_load((done.folder / "recipe.yaml").read_text())["teacher"]["classes"] == COLUMNS
    file.write_text(json.dumps([*reversed(COLUMNS)]))
    longer = {"training.epochs": 3}
    with pytest.raises(UserError, match=r"teacher\.classes"):
        limbeck.run(
            {**recipe, "teacher": wide(classes=str(file))},
            overrides=longer,
            out=tmp_path / "run",
            resume=True,
            trust=True,
        )


def test_several_columns_of_a_class_and_members_of_an_ensemble(recipe, tmp_path):
    columns = [[column, 6] if column == 13 else column for column in COLUMNS]
    members = [wide(classes=columns), {"name": "python:widenets:plain", "options": {"seed": 3}}]
    done = run(recipe, tmp_path / "run", {"members": members, "average": "probabilities"})
    assert done.summary["epoch"] == 2


def test_the_number_of_outputs_is_that_of_the_file_or_given(recipe, tmp_path):
    network = limbeck.models.create("resnet8", num_classes=14, in_channels=1)
    classes = [f"other {number}" for number in range(14)]
    about = {"name": "resnet8", "options": {}, "num_classes": 14, "classes": classes}
    save_network(tmp_path / "wide.safetensors", network, about)
    teacher = {"name": "resnet8", "weights": str(tmp_path / "wide.safetensors"), "classes": COLUMNS}
    recorded = run(recipe, tmp_path / "recorded", teacher)
    torch.save(network.state_dict(), tmp_path / "wide.pt")
    foreign = {**teacher, "weights": str(tmp_path / "wide.pt")}
    given = run(recipe, tmp_path / "given", {**foreign, "outputs": 14})
    assert are_equal(weights(recorded), weights(given))
    with pytest.raises(UserError, match=r"\(14, 64\).*\(1000, 64\).*teacher\.outputs"):
        run(recipe, tmp_path / "not given", foreign)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"classes": {"0": 1, "ten": 2}}, r"^teacher\.classes: unknown class 'ten'"),
        ({"classes": {"0": 1}}, r"^teacher\.classes: class '1': has no column, expected one for each of the 10"),
        ({"classes": [1, 2]}, r"^teacher\.classes: got 2 columns, expected 10, one for each class in the order 0, 1"),
        ({"classes": [*COLUMNS[:9], 14]}, r"wide: classes: class '9': got column 14, but the output has 14"),
        ({"classes": [*COLUMNS[:9], 13]}, r"^teacher\.classes: column 13: got it for class '0' and class '9'"),
        ({"classes": [*COLUMNS[:9], "x"]}, r"^teacher\.classes: entry 9: got 'x', expected a column, from 0"),
        ({"classes": 3}, r"^teacher\.classes: got 3, expected columns by class name, a list of columns in the"),
        ({"classes": "lost.json"}, r"^teacher\.classes: 'lost.json': cannot be read \(No such file"),
        ({"outputs": 14, "classes": None}, r"^teacher\.outputs: got 14 without classes"),
        ({"training": {"epochs": 1}}, r"^teacher\.classes: are for teachers trained on other classes"),
        ({"name": "sklearn:RandomForestClassifier", "training": None}, "is no network, expected none"),
    ],
)
def test_bad_columns_are_one_line_before_anything_is_written(recipe, tmp_path, keys, message):
    with pytest.raises(UserError, match=message) as error:
        run(recipe, tmp_path / "run", wide(**keys))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_network_of_other_classes_without_columns_names_the_way_out(recipe, tmp_path):
    with pytest.raises(UserError, match=r"gives 14 classes, expected the 10 of mnist.*teacher\.classes"):
        run(recipe, tmp_path / "run", {"name": "python:widenets:wide"})


def test_maps_have_columns_too_and_stored_ones_those_of_the_classes(tmp_path, monkeypatch):
    (tmp_path / "widemaps.py").write_text(
        "import torch\ndef make():\n    torch.manual_seed(0)\n    return torch.nn.Conv2d(3, 9, 4, stride=4)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    training = {"epochs": 2, "batch_size": 4, "precision": "fp32", "device": "cpu"}
    recipe = {
        "task": "segmentation",
        "data": {"name": "shapes", "options": {"train": 8, "test": 4, "side": 32}, "augment": {"flip": True}},
        "teacher": {"name": "python:widemaps:make", "classes": [8, [0, 3], 1, 2, 4]},
        "student": {"name": "small_segmenter", "options": {"width": 4}},
        "method": "kd",
        "training": training,
    }
    runs = []
    for cache in ("off", "views"):
        overrides = {"teacher.cache": cache, "teacher.cache_dtype": "float32"}
        runs.append(limbeck.run(recipe, overrides=overrides, out=tmp_path / cache, trust=True))
    assert are_equal(*map(weights, runs))


def test_the_packaged_recipe_runs_with_a_network_of_more_columns(limbeck, tmp_path, monkeypatch):
    classes = ("cassette_player", "chain_saw", "church", "english_springer", "french_horn", "garbage_truck", "gas_pump")
    write_classes(tmp_path / "photos", (*classes, "golf_ball", "parachute", "tench"), each=5)
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 1000))
    torch.save(network.state_dict(), "net.pt")
    (tmp_path / "thousand.py").write_text(
        "import torch\ndef make(num_classes):\n"
        "    layers = torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, num_classes)\n"
        "    return torch.nn.Sequential(*layers)\n"
    )
    words = (
        *("data.root=photos", "data.size=16", "data.workers=0", "student=resnet8", "teacher.name=python:thousand:make"),
        *("teacher.weights=net.pt", "training.epochs=1", "training.batch_size=8", "training.device=cpu"),
        *("training.schedule.warmup_epochs=0", "--trust"),
    )
    code, out, err = limbeck("run", "imagenet-teacher", "--out", tmp_path / "run", *words)
    assert code == 0, out + err
    assert "teacher.test.accuracy" in json.loads((tmp_path / "run" / "summary.json").read_text())


def test_the_recipe_of_the_page_is_valid(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "photos.md"
    block = page.read_text().split("```yaml\n")[1].split("```")[0]
    (tmp_path / "mine.yaml").write_text(block)
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.teacher.classes == {"church": 497, "golf_ball": 574, "tench": 0, "terrier": (179, 180, 181)}
    assert (recipe.source(), recipe.teacher.size) == ("live", 224)
