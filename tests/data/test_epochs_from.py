"""Epochs that begin with a later batch: the same batches, and those before it are not made."""

import pytest
import torch

from data_layouts import write_classes
from limbeck.data import Augment, load
from limbeck.data.batch import SkippableEpochs, batches_from
from limbeck.data.images import file_view
from limbeck.data.masks.augment import MaskAugment
from limbeck.data.tables.augment import TableAugment

VARIED = {
    "fashion_mnist_sample": ({"train_limit": 100}, Augment(crop=2, flip=True, rotation=10, random_erasing=0.5)),
    "shapes": ({"options": {"train": 20, "test": 4}}, MaskAugment(flip=True, zoom=(0.7, 1.5))),
    "digits": ({"train_limit": 50}, TableAugment(noise=0.3)),
}


@pytest.mark.parametrize("name", VARIED)
def test_the_batches_are_those_of_the_epoch(name):
    options, augment = VARIED[name]
    data = load(name, **options)
    batches = data.batches(data.train, batch_size=8, shuffle=True, seed=3, augment=augment)
    whole = list(batches.epoch(2))
    for start in (0, 1, len(whole) - 1, len(whole)):
        rest = list(batches_from(batches, 2, start))
        assert len(rest) == len(whole) - start
        for one, other in zip(rest, whole[start:], strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.indices, other.indices)


@pytest.mark.parametrize("workers", [0, 2])
def test_files_of_batches_that_are_left_out_are_not_read(tmp_path, workers, monkeypatch):
    write_classes(tmp_path / "photos", each=10)
    data = load("image_folder", root=tmp_path / "photos", size=8)
    batches = data.batches(data.train, batch_size=4, shuffle=True, workers=workers)
    whole = list(batches.epoch(1))
    read = []
    decoded = file_view.view_of_file
    monkeypatch.setattr("limbeck.data.images.folder_views.view_of_file",
                        lambda *args, **more: read.append(args[1]) or decoded(*args, **more))  # fmt: skip
    with batches:
        rest = list(batches_from(batches, 1, 3))
        again = list(batches.epoch(1))
    assert isinstance(batches, SkippableEpochs)
    assert all(torch.equal(one.inputs, other.inputs) for one, other in zip(rest, whole[3:], strict=True))
    assert all(torch.equal(one.inputs, other.inputs) for one, other in zip(again, whole, strict=True))
    if not workers:
        assert len(read) == len(data.train) - 3 * 4 + len(data.train)
