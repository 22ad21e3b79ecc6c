"""Large JPEGs, which their decoder makes smaller by itself: what is decoded, and that views stay what they were."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from limbeck.build.pixels import with_store
from limbeck.data import Augment, load
from limbeck.data.images.cut import Cut
from limbeck.data.images.decode import decode
from limbeck.data.images.file_view import view_of_file, view_of_image
from limbeck.recipes.data_settings import DataSettings

SIZE = 32


def smooth(height, width, seed=0):
    """A picture of a few waves, in which every place differs."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(random.uniform(2, 9) * x + random.uniform(2, 9) * y + random.uniform(0, 6)) for _ in range(3)]
    return Image.fromarray((127 + 120 * np.stack(waves, axis=2)).astype(np.uint8))


@pytest.fixture
def photos(tmp_path):
    for kind, (height, width) in {"cat": (300, 420), "dog": (290, 200)}.items():
        for number in range(6):
            path = tmp_path / "photos" / kind / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            smooth(height, width, seed=number).save(path, quality=95)
    return tmp_path / "photos"


def whole(split):
    """Return the split as it is where nothing is made smaller."""
    return type(split)(split.root, split.paths, split.labels, split.color, split.size)


@pytest.mark.parametrize(("needed", "shape"), [(300, (300, 421)), (150, (150, 211)), (75, (75, 106)), (1, (38, 53))])
def test_a_jpeg_is_decoded_at_a_part_of_its_size_where_it_stays_long_enough(tmp_path, needed, shape):
    smooth(300, 421).save(tmp_path / "a.jpg", quality=95)
    seen = []
    image = decode(tmp_path / "a.jpg", "rgb", lambda *size: seen.append(size) or needed)
    assert (seen, tuple(image.shape[1:])) == ([(300, 421)], shape)
    block = round(300 / shape[0])
    full = decode(tmp_path / "a.jpg", "rgb").float()
    mean = torch.nn.functional.avg_pool2d(full, block, ceil_mode=True)
    assert (image.float() - mean).abs().mean() < 2


def test_a_jpeg_on_its_side_is_measured_upright_and_other_files_stay_whole(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth(300, 420).save(tmp_path / "a.jpg", exif=exif)
    smooth(300, 420).save(tmp_path / "a.png")
    seen = []
    image = decode(tmp_path / "a.jpg", "gray", lambda *size: seen.append(size) or 100)
    assert (seen, image.shape) == ([(420, 300)], (1, 210, 150))
    assert decode(tmp_path / "a.png", "rgb", lambda *_: 10).shape == (3, 300, 420)


def test_only_folders_with_large_images_are_read_so_and_have_another_fingerprint(photos):
    small, large = (load("image_folder", root=photos, size=size).train for size in (96, SIZE))
    assert (small.reduced, large.reduced) == (False, True)
    assert large.fingerprint() != whole(large).fingerprint()
    assert small.fingerprint() == whole(small).fingerprint()


@pytest.mark.parametrize("augment", [{}, {"crop": 3, "flip": True}, {"scale": (0.3, 1.0), "flip": True}])
def test_views_show_the_same_as_those_of_whole_images(photos, augment):
    split = load("image_folder", root=photos, size=SIZE).train
    for index in range(len(split)):
        for epoch in range(3):
            values = {"augment": Augment(**augment), "seed": 1, "epoch": epoch}
            view, again, expected = (view_of_file(s, index, **values) for s in (split, split, whole(split)))
            assert torch.equal(view, again)
            assert view.shape == (3, SIZE, SIZE)
            assert (view.float() - expected.float()).abs().mean() < 3


def test_cuts_that_need_every_pixel_are_those_of_the_whole_image(photos):
    split = load("image_folder", root=photos, size=SIZE).train
    values = {"augment": Augment(scale=(0.01, 0.02)), "seed": 1, "epoch": 0}
    assert torch.equal(view_of_file(split, 0, **values), view_of_file(whole(split), 0, **values))


def test_the_draws_are_those_of_torchvision():
    image = torch.randint(0, 256, (3, 90, 130), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for seed in range(20):
        torch.manual_seed(seed)
        expected = v2.RandomHorizontalFlip()(v2.RandomResizedCrop(SIZE, scale=(0.1, 0.9), antialias=True)(image))
        assert torch.equal(Cut.drawn((90, 130), (0.1, 0.9), flip=True, seed=seed).of(image, SIZE), expected)


def test_a_cut_keeps_within_a_smaller_image():
    for cut in (Cut(0, 0, 301, 421, False, (301, 421)), Cut(300, 420, 1, 1, True, (301, 421))):
        assert cut.of(torch.zeros(3, 38, 53, dtype=torch.uint8), 4).shape == (3, 4, 4)


@pytest.mark.parametrize("augment", [{}, {"crop": 2, "flip": True}])
def test_views_of_stored_centers_are_those_of_the_files_bit_for_bit(photos, tmp_path, augment):
    settings = DataSettings(name="image_folder", root=photos, size=SIZE, augment=augment, store="memory")
    files = load("image_folder", root=photos, size=SIZE)
    kept = with_store(files, settings, tmp_path)
    values = {"batch_size": 4, "augment": Augment(**augment), "seed": 2}
    batches = [[batch.inputs for batch in data.batches(data.train, **values).epoch(1)] for data in (files, kept)]
    assert torch.equal(*map(torch.cat, batches))
    assert kept.fingerprints == files.fingerprints


def test_large_unlabeled_images_beside_small_ones_are_read_so_and_the_others_stay(photos, tmp_path):
    small = tmp_path / "small"
    for path in photos.rglob("*.jpg"):
        (small / path.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.resize((60, 50)).save(small / path.parent.name / path.name)
    data = load("image_folder", root=small, size=SIZE).with_unlabeled(shutil.copytree(photos, tmp_path / "more"))
    assert (data.train.reduced, data.unlabeled.reduced, data.joined.reduced) == (False, True, True)
    values = {"augment": Augment(scale=(0.5, 1.0)), "seed": 0, "epoch": 0}
    assert torch.equal(view_of_file(data.joined, 0, **values), view_of_file(data.train, 0, **values))


def test_a_view_of_an_image_at_hand_is_that_of_its_whole_size(photos):
    split = load("image_folder", root=photos, size=SIZE).train
    image = decode(split.paths[0], "rgb")
    values = {"augment": Augment(scale=(0.3, 1.0)), "seed": 1, "epoch": 2}
    assert torch.equal(view_of_image(image, 0, SIZE, **values), view_of_file(whole(split), 0, **values))
