import pytest
import torch
from torchvision.transforms.v2 import functional as tvf

from limbeck.data import Augment, ImageSet, Views
from limbeck.data.images.memory import cut_on_cpu, cut_on_device, resident
from limbeck.data.images.normalize import normalizer
from limbeck.errors import UserError

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
SPLIT = ImageSet(
    torch.randint(0, 256, (37, 3, 9, 11), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(37) % 5,
)
GRAY = ImageSet(SPLIT.images[:, :1].contiguous(), SPLIT.labels)
AUGMENT = Augment(crop=2, flip=True)


def views(split=SPLIT, **options):
    channels = split.shape[0]
    return Views(split, **{"batch_size": 8, "mean": MEAN[:channels], "std": STD[:channels], **options})


def by_index(batches):
    """Return inputs and labels in the order of the split, whatever order they came in."""
    joined = [torch.cat(parts) for parts in zip(*batches, strict=True)]
    order = joined[2].argsort(stable=True)
    return joined[0][order], joined[1][order], joined[2][order]


def reference(split, epoch, seed):
    """Make each view on its own with torchvision."""
    place = AUGMENT.place(AUGMENT.draw(torch.arange(len(split)), seed=seed, epoch=epoch))
    made = []
    for image, top, left, flip in zip(split.images, *place, strict=True):
        view = tvf.crop(tvf.pad(image, [2]), int(top), int(left), *image.shape[1:])
        view = tvf.horizontal_flip(view) if flip else view
        made.append(tvf.normalize(tvf.to_dtype(view, torch.float32, scale=True), MEAN[: len(view)], STD[: len(view)]))
    return torch.stack(made)


@pytest.mark.parametrize("split", [SPLIT, GRAY], ids=["rgb", "gray"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_views_are_those_of_torchvision(split, channels_last):
    got, labels, indices = by_index(
        views(split, augment=AUGMENT, shuffle=True, seed=3, channels_last=channels_last).epoch(5)
    )
    assert torch.allclose(got, reference(split, epoch=5, seed=3), atol=1e-5)
    assert labels.equal(split.labels)
    assert indices.equal(torch.arange(37))


def test_without_augmentation_the_images_come_in_order():
    batches = list(views().epoch(0))
    expected = tvf.normalize(SPLIT.images.float() / 255, MEAN, STD)
    assert torch.allclose(torch.cat([b.inputs for b in batches]), expected, atol=1e-5)
    assert [len(b.labels) for b in batches] == [8, 8, 8, 8, 5]
    assert torch.cat([b.indices for b in batches]).equal(torch.arange(37))


def test_a_view_is_the_same_in_any_batch_order_and_process_bit_for_bit():
    first = by_index(views(augment=AUGMENT).epoch(2))[0]
    for options in ({"batch_size": 37}, {"batch_size": 1, "shuffle": True}, {"batch_size": 5}, {"channels_last": True}):
        assert by_index(views(augment=AUGMENT, **options).epoch(2))[0].equal(first)
    for shuffle in (False, True):
        parts = [views(augment=AUGMENT, shuffle=shuffle, rank=r, world_size=3).epoch(2) for r in range(3)]
        inputs, _, indices = by_index([batch for part in parts for batch in part])
        assert inputs.equal(first[indices])
        assert indices.unique().equal(torch.arange(37))


def test_epochs_and_seeds_differ_and_an_epoch_can_be_replayed():
    train = views(augment=AUGMENT, shuffle=True)
    first = by_index(train.epoch(0))[0]
    assert not by_index(train.epoch(1))[0].equal(first)
    assert not by_index(views(augment=AUGMENT, shuffle=True, seed=1).epoch(0))[0].equal(first)
    assert by_index(train.epoch(0))[0].equal(first)


def test_the_global_generators_are_left_alone():
    state = torch.get_rng_state()
    list(views(augment=AUGMENT, shuffle=True).epoch(0))
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("split", [SPLIT, GRAY], ids=["rgb", "gray"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_both_ways_of_cutting_agree(split, channels_last):
    shape = split.shape
    images = resident(split, normalizer(shape, MEAN[: shape[0]], STD[: shape[0]]), AUGMENT, channels_last=channels_last)
    rows = torch.arange(37).flip(0)
    place = AUGMENT.place(AUGMENT.draw(rows, seed=1, epoch=1))
    arguments = (images.windows, rows, place)
    assert cut_on_cpu(*arguments, channels_last=channels_last).equal(
        cut_on_device(*arguments, channels_last=channels_last)
    )


@pytest.mark.parametrize("split", [SPLIT, GRAY], ids=["rgb", "gray"])
def test_memory_format_and_types(split):
    last, first = (next(views(split, augment=AUGMENT, channels_last=c).epoch(0)) for c in (True, False))
    channels, _, width = split.shape
    assert last.inputs.is_contiguous(memory_format=torch.channels_last)
    assert last.inputs.stride()[1:] == (1, width * channels, channels)
    assert first.inputs.is_contiguous()
    assert first.inputs.dtype == torch.float32
    assert (first.labels.dtype, first.indices.dtype) == (torch.int64, torch.int64)


def test_the_split_is_not_written_to():
    before = SPLIT.images.clone()
    list(views().epoch(0))
    list(views(augment=Augment(flip=True)).epoch(0))
    assert SPLIT.images.equal(before)


def test_last_batch():
    assert (len(views()), len(views(drop_last=True)), len(views(batch_size=64))) == (5, 4, 1)
    assert [len(b.labels) for b in views(drop_last=True, shuffle=True).epoch(0)] == [8] * 4


def test_a_rank_may_have_nothing_to_evaluate():
    small = views(SPLIT.select(torch.arange(2)), rank=2, world_size=3)
    assert len(small) == 0
    assert list(small.epoch(0)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"batch_size": 38, "drop_last": True}, "batch_size: got 38 with drop_last"),
        ({"mean": (0.5,)}, "data.mean: got 1 values, expected 3"),
        ({"std": (0.5, 0.5)}, "data.std: got 2 values, expected 3"),
        ({"std": (0.5, 0.0, 0.5)}, "data.std: got .*, expected values above 0"),
        ({"augment": Augment(scale=(0.5, 1.0))}, "augment.scale: .* only image folders"),
        ({"rank": 3, "world_size": 2}, "rank: got 3 of 2"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        views(**options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("channels_last", [False, True])
def test_on_a_gpu_the_views_are_the_same_and_nothing_waits(channels_last):
    options = {"augment": AUGMENT, "shuffle": True, "channels_last": channels_last}
    there = views(device="cuda", **options)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = list(there.epoch(1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    got, labels, _ = by_index([tuple(t.cpu() for t in batch) for batch in batches])
    expected, expected_labels, _ = by_index(views(**options).epoch(1))
    assert got.equal(expected)
    assert labels.equal(expected_labels)
