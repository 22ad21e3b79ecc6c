"""RandAugment, TrivialAugment, color jitter and random erasing: replayable, whatever workers and batches."""

import pytest
import torch

from data_layouts import write_classes
from limbeck.cache import CacheSpec, RowFormat
from limbeck.cache.augmentation import settings_of
from limbeck.data import Augment, load
from limbeck.data.images.erasing import erase, rectangles
from limbeck.errors import UserError

OPERATIONS = [
    Augment(flip=True, rand_augment=(2, 9)),
    Augment(crop=2, trivial_augment=True, random_erasing=0.5),
    Augment(color_jitter=(0.4, 0.4, 0.4, 0.1), rotation=10),
]


def inputs_of(data, augment, *, batch_size=8, epoch=0, seed=0, **options):
    batches = data.batches(data.train, batch_size=batch_size, augment=augment, shuffle=True, seed=seed, **options)
    views = torch.cat([batch.inputs for batch in batches.epoch(epoch)])
    order = torch.cat([batch.indices for batch in batches.epoch(epoch)])
    return views[order.argsort()]


@pytest.fixture(scope="module", params=["memory", "files"])
def data(request, tmp_path_factory):
    if request.param == "memory":
        return load("fashion_mnist_sample", train_limit=20)
    folder = write_classes(tmp_path_factory.mktemp("photos"), each=12)
    return load("image_folder", root=folder, size=16)


@pytest.mark.parametrize("augment", OPERATIONS)
def test_a_view_is_a_function_of_seed_epoch_and_sample(data, augment):
    views = inputs_of(data, augment)
    state = torch.get_rng_state()
    workers = 2 if hasattr(data.train, "paths") else 0
    assert torch.equal(inputs_of(data, augment, batch_size=3, workers=workers), views)
    assert torch.equal(torch.get_rng_state(), state)
    for other in ({"epoch": 1}, {"seed": 1}):
        different = (inputs_of(data, augment, **other) != views).flatten(1).any(1).float().mean()
        assert different > 0.8
    plain = Augment(augment.crop, augment.flip, rotation=augment.rotation)
    assert (inputs_of(data, plain) != views).flatten(1).any(1).float().mean() > 0.5


def test_channels_last_views_are_the_same(data):
    for augment in OPERATIONS:
        assert torch.equal(inputs_of(data, augment, channels_last=True), inputs_of(data, augment))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"rand_augment": (2, 9)}, "rand_augment"),
        ({"trivial_augment": True}, "trivial_augment"),
        ({"color_jitter": (0, 0, 0, 0.1)}, "color_jitter"),
        ({"random_erasing": 0.1}, "random_erasing"),
    ],
)
def test_such_views_are_countless(settings, name):
    augment = Augment(crop=1, flip=True, **settings)
    assert (augment.views, augment.countless, augment.unaugmented) == (None, name, None)
    assert augment.placements(torch.arange(3), seed=0, epoch=0).top.shape == (3,)
    with pytest.raises(UserError, match=f"augment.{name}: .* only crop and flip"):
        augment.draw(torch.arange(3), seed=0, epoch=0)
    with pytest.raises(UserError, match=f"teacher.cache: got 'views' with data.augment.{name}"):
        CacheSpec("views", 10, RowFormat(3), augment)


def test_keys_of_earlier_caches_stay():
    spec = CacheSpec("views", 10, RowFormat(3), Augment(crop=4, flip=True))
    assert spec.material["augment"] == {"crop": 4, "flip": True, "scale": None, "rotation": 0.0}
    # As the version before these settings computed it.
    assert spec.key == "f07a20b8c0fe3f167cbf"
    assert settings_of(Augment(trivial_augment=True))["trivial_augment"] is True


def test_erased_rectangles_have_the_sizes_of_torchvision():
    drawn = rectangles(torch.arange(20_000), 0.25, 64, 48, seed=3, epoch=1)
    erased = drawn[drawn[:, 2] > 0]
    assert abs(len(erased) / 20_000 - 0.25) < 0.01
    area = (erased[:, 2] * erased[:, 3]) / (64 * 48)
    ratio = erased[:, 2] / erased[:, 3]
    assert 0.015 < float(area.min()) < 0.03
    assert 0.3 < float(area.max()) < 0.34
    assert float(ratio.log().mean()) == pytest.approx(0, abs=0.1)
    assert bool((erased[:, 0] + erased[:, 2] <= 64).all())
    assert bool((erased[:, 1] + erased[:, 3] <= 48).all())
    assert int(erased[:, 0].min()) == 0


def test_erasing_sets_the_rectangle_to_the_mean_and_nothing_else():
    indices = torch.arange(50)
    images = erase(torch.ones(50, 3, 16, 12), indices, 1.0, seed=0, epoch=0)
    drawn = rectangles(indices, 1.0, 16, 12, seed=0, epoch=0)
    for image, (top, left, height, width) in zip(images, drawn, strict=True):
        expected = torch.ones(3, 16, 12)
        expected[:, top : top + height, left : left + width] = 0
        assert torch.equal(image, expected)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_images_are_erased_only_where_a_rectangle_fits(side):
    images = erase(torch.ones(30, 1, side, side), torch.arange(30), 1.0, seed=0, epoch=0)
    assert bool(images.flatten(1).any(1).all())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"random_erasing": 1.5}, r"augment.random_erasing: got 1.5, expected a share from 0 to 1"),
        ({"rand_augment": (0, 9)}, r"augment.rand_augment: got \(0, 9\), expected how many operations"),
        ({"rand_augment": (2, 31)}, r"augment.rand_augment: got \(2, 31\), expected .* magnitude from 0 to 30"),
        ({"rand_augment": (2, 9), "trivial_augment": True}, "beside trivial_augment, expected only one of the two"),
        ({"color_jitter": (0.4, 0.4, 0.4, 0.6)}, "augment.color_jitter: got .* the hue at most 0.5"),
        ({"color_jitter": (0.4, -1, 0.4, 0.1)}, "augment.color_jitter: got"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        Augment(**settings)
