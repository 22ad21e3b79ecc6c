import math

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from data_layouts import write_classes
from limbeck.data import Augment, ImageSet, Views, load
from limbeck.data.images.rotation import rotate
from limbeck.errors import UserError

AUGMENT = Augment(crop=2, flip=True, rotation=20)
IMAGES = torch.randint(0, 256, (37, 3, 9, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SPLIT = ImageSet(IMAGES, torch.arange(37) % 5)


def views(split=SPLIT, **options):
    return Views(split, **{"batch_size": 8, "mean": [0] * 3, "std": [1 / 255] * 3, "augment": AUGMENT, **options})


def by_index(batches):
    inputs, _, indices = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return inputs[indices.argsort()]


def turned(image, angle):
    return tvf.rotate(image.float(), float(angle), interpolation=InterpolationMode.BILINEAR)


@pytest.fixture
def folder(tmp_path):
    return load("image_folder", root=write_classes(tmp_path, each=10), size=16).train


@pytest.mark.parametrize("turns", [-1, 0, 1, 2])
def test_quarter_turns_are_those_of_rot90(turns):
    square = IMAGES[:, :, :, :9]
    got = rotate(square, torch.full([37], 90.0 * turns))
    assert torch.allclose(got, square.rot90(turns, (2, 3)).float(), atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_image_is_rotated_as_by_torchvision_and_the_input_kept(dtype):
    images, angles = IMAGES.to(dtype), torch.linspace(-180, 180, 37)
    expected = torch.stack([turned(image, angle) for image, angle in zip(IMAGES, angles, strict=True)])
    got = rotate(images, angles)
    assert got.dtype == torch.float32
    assert torch.allclose(got, expected, atol=5e-3)
    assert images.equal(IMAGES.to(dtype))


def test_outside_is_zero():
    white = torch.full((1, 1, 9, 9), 255, dtype=torch.uint8)
    got = rotate(white, torch.tensor([45.0]))[0, 0]
    assert [got[0, 0], got[0, 8], got[8, 0], got[8, 8]] == [0, 0, 0, 0]
    assert got[2:7, 2:7].sub(255).abs().max() < 1e-3


def test_an_image_is_rotated_the_same_in_any_batch_and_memory_format_bit_for_bit():
    angles = AUGMENT.angles(torch.arange(37), seed=0, epoch=0)
    whole = rotate(IMAGES, angles)
    assert torch.cat([rotate(IMAGES[i : i + 1], angles[i : i + 1]) for i in range(37)]).equal(whole)
    last = rotate(IMAGES.contiguous(memory_format=torch.channels_last), angles)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert last.equal(whole)


def test_matrix_precision_does_not_matter():
    angles = AUGMENT.angles(torch.arange(37), seed=0, epoch=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = rotate(IMAGES, angles)
    assert inside.equal(rotate(IMAGES, angles))


def test_angles_are_uniform_and_depend_on_seed_epoch_and_index_alone():
    indices = torch.arange(20_000)
    angles = AUGMENT.angles(indices, seed=0, epoch=0)
    assert angles.abs().max() <= 20
    counts = torch.histc(angles, bins=10, min=-20, max=20)
    assert counts.sub(2000).abs().max() < 250  # standard deviation 42
    assert AUGMENT.angles(indices.flip(0), seed=0, epoch=0).equal(angles.flip(0))
    assert AUGMENT.angles(indices[7:8], seed=0, epoch=0).equal(angles[7:8])
    numbers = Augment(crop=2).draw(indices, seed=0, epoch=0).double()
    others = [AUGMENT.angles(indices, seed=s, epoch=e) for s, e in ((1, 0), (0, 1))]
    for other in (*others, numbers):
        assert torch.corrcoef(torch.stack([angles, other]))[0, 1].abs() < 0.04


def test_a_view_is_cropped_and_flipped_then_rotated():
    upright = by_index(views(augment=Augment(crop=2, flip=True), seed=3).epoch(5))
    angles = AUGMENT.angles(torch.arange(37), seed=3, epoch=5)
    expected = torch.stack([turned(view, angle) for view, angle in zip(upright, angles, strict=True)])
    assert torch.allclose(by_index(views(seed=3).epoch(5)), expected, atol=5e-3)


def test_normalization_comes_last():
    plain, mean, std = by_index(views().epoch(0)), [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    got = by_index(views(mean=mean, std=std).epoch(0))
    assert torch.allclose(got, tvf.normalize(plain / 255, mean, std), atol=1e-5)


def test_a_view_is_the_same_in_any_batch_order_process_and_epoch_replayed():
    train = views(shuffle=True)
    first = by_index(train.epoch(2))
    for options in ({"batch_size": 37}, {"batch_size": 1}, {"batch_size": 5}, {"channels_last": True}):
        assert by_index(views(**options).epoch(2)).equal(first)
    parts = [batch for rank in range(3) for batch in views(rank=rank, world_size=3).epoch(2)]
    assert by_index(parts).equal(first)
    assert not by_index(train.epoch(3)).equal(first)
    assert by_index(train.epoch(2)).equal(first)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_format(channels, channels_last):
    split = ImageSet(IMAGES[:, :channels].contiguous(), SPLIT.labels)
    unit = {"mean": [0] * channels, "std": [1] * channels, "channels_last": channels_last}
    got = next(views(split, **unit).epoch(0)).inputs
    assert got.dtype == torch.float32
    assert got.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def test_the_split_and_the_global_generator_are_left_alone():
    before, state = IMAGES.clone(), torch.get_rng_state()
    for augment in (AUGMENT, Augment(rotation=20)):
        list(views(augment=augment).epoch(0))
    assert IMAGES.equal(before)
    assert torch.get_rng_state().equal(state)


def test_folders_give_the_views_of_memory(folder):
    pixels = by_index(views(folder, augment=None).epoch(0))
    memory = ImageSet(pixels.round().to(torch.uint8), folder.labels)
    assert by_index(views(folder, seed=4).epoch(2)).equal(by_index(views(memory, seed=4).epoch(2)))


@pytest.mark.parametrize("scale", [None, (0.3, 1.0)])
def test_folder_views_are_the_same_with_any_batch_order_and_workers(folder, scale):
    augment = Augment(flip=True, scale=scale, rotation=20)
    first = by_index(views(folder, augment=augment).epoch(1))
    for options in ({"batch_size": 1, "shuffle": True}, {"workers": 1}, {"channels_last": True}):
        assert by_index(views(folder, augment=augment, **options).epoch(1)).equal(first)
    upright = by_index(views(folder, augment=Augment(flip=True, scale=scale)).epoch(1))
    angles = augment.angles(torch.arange(len(folder)), seed=0, epoch=1)
    expected = torch.stack([turned(view, angle) for view, angle in zip(upright, angles, strict=True)])
    assert torch.allclose(first, expected, atol=5e-3)


def test_rotated_views_are_countless():
    assert AUGMENT.views is None
    with pytest.raises(UserError, match=r"^augment.rotation: got 20, but only crop and flip[^\n]*$"):
        AUGMENT.draw(torch.arange(3), seed=0, epoch=0)
    upright = Augment(crop=2, flip=True)
    expected = upright.place(upright.draw(torch.arange(9), seed=1, epoch=2))
    for got, wanted in zip(AUGMENT.placements(torch.arange(9), seed=1, epoch=2), expected, strict=True):
        assert got.equal(wanted)


@pytest.mark.parametrize("rotation", [-1, 180.5, math.nan, math.inf])
def test_angles_out_of_range(rotation):
    with pytest.raises(UserError, match=rf"^augment.rotation: got {rotation}, expected degrees from 0 to 180$"):
        Augment(rotation=rotation)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("channels_last", [False, True])
def test_on_a_gpu_the_views_are_close_and_nothing_waits(channels_last):
    there = views(device="cuda", channels_last=channels_last)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = list(there.epoch(1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    got = by_index([tuple(t.cpu() for t in batch) for batch in batches])
    assert torch.allclose(got, by_index(views().epoch(1)), atol=5e-3)
