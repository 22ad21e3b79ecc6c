"""``data.store``: image files decoded once, the same views from them, and what happens to damaged ones."""

import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.transforms import RandomResizedCrop

import limbeck
from data_layouts import write_classes, write_image, write_mnist
from limbeck.build.pixels import with_store
from limbeck.data import Augment, load
from limbeck.data.images.boxes import random_boxes
from limbeck.data.images.pixels import pixels_of
from limbeck.data.images.stored import StoredSet
from limbeck.errors import RunError, UserError
from limbeck.recipes.data_settings import DataSettings

VARIED = [{}, {"crop": 2, "flip": True}, {"crop": 1, "rotation": 20}, {"rotation": 5}]
SCALED = {"scale": (0.2, 1.0), "flip": True}


@pytest.fixture
def photos(tmp_path):
    return write_classes(tmp_path / "photos", each=10)


def stored(photos, tmp_path, augment, store="disk", size=16, **more):
    settings = DataSettings(name="image_folder", root=photos, size=size, augment=augment, store=store, **more)
    return with_store(load("image_folder", root=photos, size=size), settings, tmp_path / "cache")


def by_index(batches):
    inputs, labels, indices = (torch.cat(parts) for parts in zip(*batches, strict=True))
    order = indices.argsort()
    return inputs[order], labels[order]


def epoch(data, split, augment, **options):
    return by_index(data.batches(split, augment=Augment(**augment), **{"batch_size": 4, "seed": 2, **options}).epoch(3))


@pytest.mark.parametrize("store", ["memory", "disk", "auto"])
@pytest.mark.parametrize("augment", VARIED)
@pytest.mark.parametrize("channels_last", [False, True])
def test_views_of_stored_centers_are_those_of_the_files_bit_for_bit(photos, tmp_path, augment, store, channels_last):
    files, kept = load("image_folder", root=photos, size=16), stored(photos, tmp_path, augment, store)
    for split in ("train", "test"):
        expected = epoch(files, getattr(files, split), augment, channels_last=channels_last)
        found = epoch(kept, getattr(kept, split), augment, channels_last=channels_last, shuffle=True, batch_size=3)
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    assert kept.fingerprints == files.fingerprints


def test_another_decoder_has_a_store_of_its_own(photos, tmp_path, monkeypatch):
    before = stored(photos, tmp_path, {"crop": 2})
    again = stored(photos, tmp_path, {"crop": 2})
    monkeypatch.setattr("PIL.__version__", "0.0")
    after = stored(photos, tmp_path, {"crop": 2})
    assert before.train.pixels.place == again.train.pixels.place != after.train.pixels.place
    # What the views are named by in other caches stays.
    assert before.fingerprints == after.fingerprints


def test_scaled_views_are_a_function_of_seed_epoch_and_sample(photos, tmp_path):
    data = stored(photos, tmp_path, SCALED)
    first, _ = epoch(data, data.train, SCALED)
    assert first.shape == (16, 3, 16, 16)
    for options in ({"batch_size": 1}, {"shuffle": True}, {"channels_last": True}):
        assert epoch(data, data.train, SCALED, **options)[0].equal(first)
    half = data.train.select(torch.arange(0, 16, 2))
    assert not epoch(data, data.train, SCALED, seed=3)[0].equal(first)
    assert len(half) == 8
    assert half.image(3).equal(data.train.image(6))


def test_whole_images_are_kept_for_crops_of_any_scale(tmp_path):
    photos = tmp_path / "photos"
    for number in range(20):
        write_image(photos / ["cat", "dog"][number % 2] / f"{number}.png", 40, 60, seed=number)
    data = stored(photos, tmp_path, SCALED, size=14)
    # 8/7 of the size; held-out splits need their centers alone.
    assert data.train.image(0).shape == (3, 16, 24)
    assert data.test.image(0).shape == (3, 14, 14)
    files = load("image_folder", root=photos, size=14)
    assert data.fingerprints["test"] == files.fingerprints["test"]
    assert data.fingerprint != files.fingerprint
    plain, _ = epoch(data, data.train, {})
    original, _ = epoch(files, files.train, {})
    assert (plain - original).abs().mean() < 0.1


def test_crops_have_the_distribution_of_torchvision_s():
    count, height, width = 4000, 30, 50
    sides = torch.full((count,), height), torch.full((count,), width)
    boxes = random_boxes(torch.arange(count), *sides, (0.1, 1.0), seed=0, epoch=0)
    image = torch.zeros(1, height, width)
    torch.manual_seed(0)
    draws = torch.tensor([RandomResizedCrop.get_params(image, [0.1, 1.0], [3 / 4, 4 / 3]) for _ in range(count)])
    for ours, theirs in zip(boxes[:4], draws.double().unbind(1), strict=True):
        assert abs(float(ours.double().mean() - theirs.mean())) < 6 * float(theirs.std()) / math.sqrt(count)
    assert bool((boxes.top + boxes.height <= height).all())
    assert bool((boxes.left + boxes.width <= width).all())
    assert abs(float(boxes.flip.double().mean()) - 0.5) < 0.03


def test_a_narrow_image_has_its_largest_central_crop():
    boxes = random_boxes(torch.tensor([0]), torch.tensor([100]), torch.tensor([4]), (1.0, 1.0), seed=0, epoch=0)
    assert [int(values) for values in boxes[:4]] == [47, 0, 5, 4]


def test_files_are_decoded_once(photos, tmp_path, monkeypatch):
    stored(photos, tmp_path, SCALED)
    monkeypatch.setattr("limbeck.data.images.stored.decode", None)
    stored(photos, tmp_path, SCALED)
    with pytest.raises(TypeError):
        stored(photos, tmp_path, {})


def test_a_changed_file_is_another_store(photos, tmp_path):
    stored(photos, tmp_path, {})
    before = set((tmp_path / "cache" / "pixels").iterdir())
    first, second = sorted((photos / "cat").iterdir())[:2]
    shutil.copy(second, first)
    stored(photos, tmp_path, {})
    assert set((tmp_path / "cache" / "pixels").iterdir()) > before


def test_a_run_from_a_store_is_the_run_from_the_files(photos, tmp_path):
    recipe = {
        "data": {"name": "image_folder", "root": str(photos), "size": 16, "augment": {"crop": 1, "flip": True}},
        "teacher": {"name": "resnet8", "options": {"width": 0.5}, "training": {"epochs": 1, "batch_size": 8}},
        "student": {"name": "resnet8", "options": {"width": 0.25}},
        "method": "kd",
        "training": {"epochs": 2, "batch_size": 6, "device": "cpu", "precision": "fp32"},
    }
    weights = []
    for name, extra in {
        "files": {},
        "store": {"data.store": "disk"},
        "cached": {"data.store": "memory", "teacher.cache": "views", "teacher.cache_dtype": "float32"},
    }.items():
        limbeck.run(recipe, overrides=extra, out=tmp_path / name)
        weights.append(load_file(tmp_path / name / "student.safetensors"))
    assert all(torch.equal(weights[0][key], other[key]) for other in weights[1:] for key in weights[0])


@pytest.mark.parametrize("cache", ["off", "epochs"])
def test_scaled_views_run_from_a_store(photos, tmp_path, cache):
    recipe = {
        "data": {"name": "image_folder", "root": str(photos), "size": 16, "augment": SCALED, "store": "disk"},
        "teacher": {"name": "resnet8", "training": {"epochs": 1, "batch_size": 8}, "cache": cache},
        "student": {"name": "resnet8", "options": {"width": 0.25}},
        "method": "dist",
        "training": {"epochs": 2, "batch_size": 6, "device": "cpu"},
    }
    assert limbeck.run(recipe, out=tmp_path / "run").summary["epoch"] == 2


def test_a_damaged_store_is_one_line(photos, tmp_path):
    data = stored(photos, tmp_path, {})
    for place in (tmp_path / "cache" / "pixels").iterdir():
        values = np.fromfile(place / "pixels.bin", np.uint8)
        (values + 1).tofile(place / "pixels.bin")
    data = stored(photos, tmp_path, {})
    with pytest.raises(RunError, match="image 0 is damaged; delete it to decode the files again"):
        data.train.image(0)
    (place / "pixels.bin").write_bytes(b"x")
    with pytest.raises(UserError, match="expected another number; delete it"):
        stored(photos, tmp_path, {})
    (place / "index.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        stored(photos, tmp_path, {})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"store_limit_gb": 1e-6}, r"data.store: 16 images take about 12.3 kB, more than data.store_limit_gb 1e-06"),
        ({"store": "memory", "store_limit_gb": 1e-6}, "more than data.store_limit_gb"),
    ],
)
def test_a_store_within_limits(photos, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        stored(photos, tmp_path, {}, **more)
    assert not (tmp_path / "cache" / "pixels").exists()


def test_data_in_memory_need_no_store(tmp_path):
    write_mnist(tmp_path / "mnist")
    data = load("mnist", root=tmp_path / "mnist")
    settings = DataSettings(name="mnist", root=tmp_path / "mnist", store="auto")
    assert with_store(data, settings, tmp_path) is data
    with pytest.raises(UserError, match="data.store: got 'disk', but mnist is no image folder"):
        with_store(data, settings.model_copy(update={"store": "disk"}), tmp_path)


def test_an_image_of_no_pixels_more_than_are_there():
    with pytest.raises(UserError, match="expected another number"):
        type(pixels_of([torch.zeros(1, 2, 2, dtype=torch.uint8)]))(np.zeros(3, np.uint8), ((2, 2, 1),), (0,))


def test_a_selection_of_a_stored_split_is_one(photos, tmp_path):
    data = stored(photos, tmp_path, {})
    assert isinstance(data.train.select(torch.tensor([3, 1])), StoredSet)
