import json

import pytest
import torch

from limbeck.cache.augmentation import settings_of
from limbeck.data import Augment
from limbeck.errors import UserError
from limbeck.recipes.schema import DataSettings, Recipe
from limbeck.validation import validated


@pytest.mark.parametrize(
    ("augment", "views"),
    [
        (Augment(), 1),
        (Augment(flip=True), 2),
        (Augment(crop=2), 25),
        (Augment(crop=4, flip=True), 162),
        (Augment(scale=(0.1, 1.0)), None),
    ],
)
def test_number_of_views(augment, views):
    assert augment.views == views


def test_every_view_is_another_placement():
    augment = Augment(crop=2, flip=True)
    place = augment.place(torch.arange(50))
    cells = set(zip(place.top.tolist(), place.left.tolist(), place.flip.tolist(), strict=True))
    assert cells == {(top, left, flip) for top in range(5) for left in range(5) for flip in (False, True)}


def test_draws_are_even_and_depend_on_seed_epoch_and_index_alone():
    augment, indices = Augment(crop=1, flip=True), torch.arange(18_000)
    drawn = augment.draw(indices, seed=0, epoch=0)
    assert drawn.bincount().sub(1000).abs().max() < 150  # standard deviation 31
    assert torch.equal(augment.draw(indices.flip(0), seed=0, epoch=0), drawn.flip(0))
    for seed, epoch in ((1, 0), (0, 1)):
        same = (augment.draw(indices, seed=seed, epoch=epoch) == drawn).float().mean()
        assert same.item() == pytest.approx(1 / 18, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": -1}, "augment.crop: got -1"),
        ({"crop": 1025}, "augment.crop: got 1025, expected a whole number of pixels from 0 to 1024"),
        ({"rotation": float("nan")}, "augment.rotation: got nan, expected degrees from 0 to 180"),
        ({"scale": (0.0, 1.0)}, r"augment.scale: got \(0.0, 1.0\)"),
        ({"scale": (0.9, 0.5)}, "augment.scale"),
        ({"scale": (0.9, 1.5)}, "augment.scale"),
        ({"scale": (0.5,)}, "augment.scale"),
        ({"scale": (0.5, 1.0), "crop": 2}, "augment.crop: got 2 beside a scale"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        Augment(**options)


def test_countless_views_have_no_numbers():
    with pytest.raises(UserError, match=r"augment.scale: .* only crop and flip"):
        Augment(scale=(0.5, 1.0)).draw(torch.arange(3), seed=0, epoch=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"crop": -1}, "^data.augment.crop: got -1, expected a whole number of pixels from 0 to 1024$"),
        ({"crop": True}, "^data.augment.crop: got True, input should be a valid integer$"),
        ({"crop": "4"}, "^data.augment.crop: got '4', input should be a valid integer$"),
        ({"crpo": 1}, "^data.augment.crpo: unknown key 'crpo'; did you mean 'crop'"),
        ({"scale": [0.5, True]}, "^data.augment.scale.1: got True, input should be a valid number$"),
        ({"scale": [0.5, 1.0], "crop": 2}, "^data.augment.crop: got 2 beside a scale"),
        ({"rotation": 181}, "^data.augment.rotation: got 181.0, expected degrees from 0 to 180$"),
    ],
)
def test_mistakes_in_a_recipe_are_one_line(given, message):
    with pytest.raises(UserError, match=message):
        validated(Recipe, {"data": {"name": "mnist", "augment": given}, "student": "resnet8"})


def test_a_recipe_gives_the_augmentation_that_python_gives():
    read = DataSettings(name="mnist", augment={"scale": [0.5, 1], "rotation": 15}).augment
    assert read == Augment(scale=(0.5, 1.0), rotation=15.0)
    assert hash(read) == hash(Augment(scale=(0.5, 1.0), rotation=15.0))
    assert json.dumps(settings_of(read)) == '{"crop": 0, "flip": false, "scale": [0.5, 1.0], "rotation": 15.0}'
    assert DataSettings(name="mnist", augment=read).model_dump()["augment"] == vars(read)
