import multiprocessing

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tvf

from data_layouts import write_classes
from limbeck.data import Augment, Views, load
from limbeck.data.images.file_view import view_of_image
from limbeck.errors import RunError, UserError


@pytest.fixture
def data(tmp_path):
    return load("image_folder", root=write_classes(tmp_path, each=10), size=16)


def views(data, **options):
    return Views(data.train, **{"batch_size": 4, "mean": data.mean, "std": data.std, **options})


def by_index(batches):
    inputs, _, indices = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return inputs[indices.argsort()]


def test_without_augmentation_the_center_is_cut_out(data):
    batches = list(views(data).epoch(0))
    image = torch.from_numpy(np.array(Image.open(data.train.paths[5]))).permute(2, 0, 1)
    expected = tvf.center_crop(tvf.resize(image, [16]), [16, 16])
    expected = tvf.normalize(tvf.to_dtype(expected, torch.float32, scale=True), data.mean, data.std)
    assert torch.allclose(batches[1].inputs[1], expected, atol=1e-5)
    assert torch.cat([b.labels for b in batches]).equal(data.train.labels)
    assert torch.cat([b.indices for b in batches]).equal(torch.arange(16))


@pytest.mark.parametrize("augment", [Augment(scale=(0.2, 1.0), flip=True), Augment(crop=2, flip=True)])
def test_a_view_is_the_same_with_any_batch_order_and_workers(data, augment):
    first = by_index(views(data, augment=augment, seed=2).epoch(3))
    for options in ({"batch_size": 1, "shuffle": True}, {"workers": 2, "shuffle": True}, {"channels_last": True}):
        assert by_index(views(data, augment=augment, seed=2, **options).epoch(3)).equal(first)
    assert not by_index(views(data, augment=augment, seed=2).epoch(4)).equal(first)
    assert not by_index(views(data, augment=augment, seed=1).epoch(3)).equal(first)


def test_crops_are_numbered_as_those_of_images_in_memory(data):
    augment = Augment(crop=3, flip=True)
    plain, varied = (by_index(views(data, mean=[0] * 3, std=[1] * 3, augment=a).epoch(1)) for a in (None, augment))
    place = augment.place(augment.draw(torch.arange(16), seed=0, epoch=1))
    for i, (top, left, flip) in enumerate(zip(*place, strict=True)):
        view = tvf.crop(tvf.pad(plain[i], [3]), int(top), int(left), 16, 16)
        assert varied[i].equal(tvf.horizontal_flip(view) if flip else view)


def test_gray_and_memory_format(tmp_path):
    data = load("image_folder", root=write_classes(tmp_path, mode="L"), size=12)
    inputs = next(views(data, channels_last=True).epoch(0)).inputs
    assert inputs.shape == (4, 1, 12, 12)
    data = load("image_folder", root=tmp_path, size=12, color="rgb")
    inputs = next(views(data, channels_last=True).epoch(0)).inputs
    assert inputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_generator_is_left_alone(data, workers):
    state = torch.get_rng_state()
    list(views(data, augment=Augment(scale=(0.2, 1.0), flip=True), shuffle=True, workers=workers).epoch(0))
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_damaged_later_is_named_in_one_line(data, workers):
    path = data.train.paths[6]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=f"^data.root: {path} cannot be read as an image: [^\n]*$"):
        list(views(data, workers=workers).epoch(0))


def test_ranks_and_lengths(data):
    ranks = [views(data, rank=r, world_size=3, shuffle=True) for r in range(3)]
    assert [len(v) for v in ranks] == [2, 2, 2]
    assert torch.cat([b.indices for v in ranks for b in v.epoch(0)]).unique().equal(torch.arange(16))


def test_negative_workers(data):
    with pytest.raises(UserError, match=r"workers: got -1"):
        views(data, workers=-1)


@pytest.mark.parametrize("name", ["image_folder", "fashion_mnist_sample"])
def test_more_workers_than_any_machine_needs(data, name):
    data = data if name == "image_folder" else load(name)
    with pytest.raises(UserError, match=r"^data.workers: got 1000000, expected 0 to \d+ \(4 for each CPU core"):
        views(data, workers=10**6)


def pids():
    return {child.pid for child in multiprocessing.active_children()}


def test_kept_workers_give_the_same_views_and_end_with_the_block(data):
    options = {"augment": Augment(scale=(0.2, 1.0), flip=True), "shuffle": True, "seed": 2}
    before = pids()
    with views(data, workers=2, **options) as kept:
        epochs = [by_index(kept.epoch(0))]
        first = pids() - before
        epochs += [by_index(kept.epoch(epoch)) for epoch in (1, 3, 1)]
        assert len(first) == 2
        assert pids() - before == first
    assert pids() == before
    for epoch, found in zip((0, 1, 3, 1), epochs, strict=True):
        assert found.equal(by_index(views(data, **options).epoch(epoch)))
    list(kept.epoch(0))
    assert pids() == before


def test_kept_workers_after_an_epoch_that_was_left_and_with_two_at_a_time(data):
    alone = [by_index(views(data, augment=Augment(crop=2)).epoch(epoch)) for epoch in range(3)]
    with views(data, augment=Augment(crop=2), workers=1) as kept:
        next(kept.epoch(0))
        assert by_index(kept.epoch(1)).equal(alone[1])
        pairs = list(zip(kept.epoch(0), kept.epoch(2), strict=True))
    assert by_index(left for left, _ in pairs).equal(alone[0])
    assert by_index(right for _, right in pairs).equal(alone[2])


def test_kept_workers_end_in_the_middle_of_an_epoch(data):
    before = pids()
    with views(data, workers=1) as kept:
        epoch = kept.epoch(0)
        next(epoch)
        assert pids() > before
    assert pids() == before
    with pytest.raises(RunError, match="the workers were ended while an epoch was under way"):
        next(epoch)


def test_a_kept_worker_names_a_damaged_image_in_one_line(data):
    path = data.train.paths[6]
    with views(data, workers=1) as kept:
        list(kept.epoch(0))
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(UserError, match=f"^data.root: {path} cannot be read as an image: [^\n]*$"):
            list(kept.epoch(1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_views_are_the_same(data):
    there = [tuple(t.cpu() for t in batch) for batch in views(data, device="cuda", augment=Augment(crop=2)).epoch(1)]
    assert by_index(there).equal(by_index(views(data, augment=Augment(crop=2)).epoch(1)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_kept_workers_give_the_same_views(data):
    before = pids()
    with views(data, device="cuda", workers=1) as kept:
        found = [by_index(tuple(t.cpu() for t in batch) for batch in kept.epoch(epoch)) for epoch in (0, 1)]
    assert pids() == before
    assert all(one.equal(by_index(views(data).epoch(0))) for one in found)


def test_the_order_of_pixels_in_memory_changes_no_view():
    random = torch.Generator().manual_seed(0)
    for number, channels in enumerate((3, 1, 3, 1)):
        height, width = torch.randint(20, 200, (2,), generator=random).tolist()
        pixels = torch.randint(0, 256, (channels, height, width), generator=random, dtype=torch.uint8)
        decoded = pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        every = {"rand_augment": (2, 9)} if channels == 3 else {"rotation": 10}
        for augment in (Augment(), Augment(crop=3, flip=True), Augment(scale=(0.1, 1.0), **every)):
            views = [view_of_image(image, number, 32, augment, seed=1, epoch=2) for image in (pixels, decoded)]
            assert torch.equal(*views)
            assert views[1].is_contiguous()
