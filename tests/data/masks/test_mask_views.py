"""Views of images with masks: image and mask stay together, and a view is a function of seed, epoch and sample."""

import pytest
import torch
from torch.nn import functional as F

from limbeck.cache import CacheSpec, RowFormat, SourceReplay
from limbeck.data import Augment, load
from limbeck.data.masks.augment import MaskAugment, Window
from limbeck.data.masks.data import MaskData
from limbeck.data.masks.splits import MaskSet
from limbeck.data.masks.views import cut_view
from limbeck.errors import UserError

SIZE = (24, 32)


@pytest.fixture(scope="module")
def data():
    """Images of blocks of one color; a mask is the image's first channel divided by 16."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(16, (9, 1, 3, 4), generator=generator)
    masks = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)[:, 0].to(torch.uint8)
    images = (masks * 16)[:, None].expand(-1, 3, -1, -1).contiguous()
    split = MaskSet(images, masks)
    return MaskData("blocks", tuple(map(str, range(16))), split, None, split, (0.0,) * 3, (1 / 255,) * 3)


def views(data, augment, epoch=0, order=None, **options):
    options = {"batch_size": 4, "seed": 3, **options}
    batches = list(data.batches(data.train, augment=augment, **options).epoch(epoch))
    parts = [torch.cat([getattr(batch, name) for batch in batches]) for name in ("inputs", "targets", "indices")]
    place = parts[2].argsort()
    return [part[place] for part in parts[:2]]


AUGMENTS = [
    MaskAugment(),
    MaskAugment(flip=True),
    MaskAugment(flip=True, zoom=(0.5, 2.0)),
    MaskAugment(window=(16, 16)),
    MaskAugment(zoom=(1.0, 3.0), window=(40, 40)),
]


@pytest.mark.parametrize("augment", AUGMENTS)
def test_a_view_is_a_function_of_seed_epoch_and_sample(augment, data):
    first = views(data, augment)
    for options in ({"batch_size": 9}, {"shuffle": True}, {"batch_size": 1, "shuffle": True}, {"channels_last": True}):
        again = views(data, augment, **options)
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    if augment.views != 1:
        assert not torch.equal(first[1], views(data, augment, epoch=1)[1])
        assert not torch.equal(first[1], views(data, augment, seed=4)[1])


@pytest.mark.parametrize("augment", AUGMENTS)
def test_image_and_mask_are_varied_alike(augment, data):
    inputs, masks = views(data, augment)
    height, width = augment.window or SIZE
    assert inputs.shape == (9, 3, height, width)
    assert masks.shape == (9, height, width)
    inside = masks != 255
    assert (inputs.movedim(1, -1)[~inside] == 0).all()
    # Away from the edges of blocks, where bilinear pixels lie between two, the image gives the mask.
    flat = -F.max_pool2d(-masks[:, None].float(), 5, 1, 2) == F.max_pool2d(masks[:, None].float(), 5, 1, 2)
    # A window may end where another block begins.
    flat = F.pad(flat[:, :, 2:-2, 2:-2], (2, 2, 2, 2))
    same = (inputs[:, 0] / 16).round().long() == masks
    assert same[inside & flat[:, 0]].all()
    assert (inside & flat[:, 0]).float().mean() > 0.02


def test_flips_are_two_numbered_views(data):
    augment = MaskAugment(flip=True)
    drawn = augment.draw(torch.arange(9), seed=3, epoch=0)
    inputs, masks = views(data, augment)
    plain, plain_masks = views(data, MaskAugment())
    for n, flipped in enumerate(drawn.tolist()):
        assert torch.equal(masks[n], plain_masks[n].flip(1) if flipped else plain_masks[n])
        assert torch.equal(inputs[n], plain[n].flip(2) if flipped else plain[n])
    assert 0 < drawn.sum() < 9


def test_enlarged_twice_is_what_torch_interpolates(data):
    image, mask = data.train.images[0], data.train.masks[0]
    number = lambda value: torch.tensor(value, dtype=torch.float64)  # noqa: E731
    view = cut_view(image, mask, Window(number(0.0), number(0.0), number(2.0), torch.tensor(False)), (48, 64))
    expected = F.interpolate(image[None].float(), scale_factor=2, mode="bilinear")[0]
    torch.testing.assert_close(view.pixels, expected)
    assert torch.equal(view.mask, F.interpolate(mask[None, None].float(), scale_factor=2, mode="nearest")[0, 0].byte())


def test_windows_reach_every_place():
    augment, samples = MaskAugment(window=(4, 6)), torch.arange(2000)
    place = augment.windows(samples, (6, 9), seed=0, epoch=0)
    assert sorted(set(place.top.tolist())) == [0, 1, 2]
    assert sorted(set(place.left.tolist())) == [0, 1, 2, 3]
    zoomed = MaskAugment(zoom=(0.5, 0.5)).windows(samples, (6, 8), seed=0, epoch=0)
    assert (zoomed.top.min(), zoomed.top.max(), zoomed.left.min(), zoomed.left.max()) == (-3, 0, -4, 0)


def test_a_cache_replays_the_views(data):
    augment = MaskAugment(flip=True)
    spec = CacheSpec("views", 9, RowFormat((16, 3, 4)), augment)
    source = data.source(data.train, augment)
    drawn = augment.draw(torch.arange(9), seed=3, epoch=0)
    replayed = list(SourceReplay(source, spec).batches(torch.arange(9) * 2 + drawn, batch_size=4))
    inputs, masks = views(data, augment)
    assert torch.equal(torch.cat([batch.inputs for batch, _, _ in replayed]), inputs)
    assert torch.equal(torch.cat([batch.targets for batch, _, _ in replayed]), masks)
    zoom = MaskAugment(zoom=(0.5, 2.0))
    spec = CacheSpec("epochs", 9, RowFormat((16, 3, 4)), zoom, seed=3, epochs=2)
    slots = torch.tensor([1, 9 + 4])
    (first, *_), (second, *_) = SourceReplay(data.source(data.train, zoom), spec).batches(slots, batch_size=4)
    assert torch.equal(first.inputs[0], views(data, zoom, epoch=0)[0][1])
    assert torch.equal(second.inputs[0], views(data, zoom, epoch=1)[0][4])


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"zoom": (0.0, 2.0)}, r"augment.zoom: got \(0.0, 2.0\), expected two factors"),
        ({"zoom": (2.0, 1.0)}, "augment.zoom: got"),
        ({"window": (0, 4)}, r"augment.window: got \(0, 4\), expected height and width"),
    ],
)
def test_settings_out_of_range(settings, line):
    with pytest.raises(UserError, match=line):
        MaskAugment(**settings)


def test_settings_of_images_serve_as_far_as_they_can(data):
    assert data.augment(Augment(flip=True)) == MaskAugment(flip=True)
    with pytest.raises(UserError, match=r"data.augment.crop: got 4, but images with masks take of such settings flip"):
        data.augment(Augment(crop=4))
    with pytest.raises(
        UserError, match=r"data.augment.window: got \[30, 40\], expected at most the images' \[24, 32\]"
    ):
        data.augment(MaskAugment(window=(30, 40)))
    with pytest.raises(UserError, match=r"augment.zoom: got \(0.5, 2.0\), but only flip gives views"):
        MaskAugment(zoom=(0.5, 2.0)).draw(torch.arange(2), seed=0, epoch=0)


def test_shapes_are_drawn_alike_by_seed():
    options = {"train": 6, "test": 2, "side": 24}
    one, other = (load("shapes", seed=seed, options=options) for seed in (0, 0))
    assert one.fingerprint == other.fingerprint != load("shapes", seed=1, options=options).fingerprint
    assert set(one.train.masks.unique().tolist()) <= {0, 1, 2, 3, 4, 255}
    for options in ({"train": 0}, {"side": 3}, {"noise": -1.0}):
        with pytest.raises(UserError, match=f"data.options.{next(iter(options))}"):
            load("shapes", options=options)
