"""Images without labels beside a labeled set, and batches of both."""

import shutil
from itertools import pairwise

import pytest
import torch

from data_layouts import write_classes
from limbeck.data import FolderSet, ImageSet, load
from limbeck.data.partly_labeled import PartlyLabeled
from limbeck.data.schedule import Schedule
from limbeck.errors import UserError


@pytest.fixture
def labeled(tmp_path):
    write_classes(tmp_path / "photos", each=5)
    return load("image_folder", root=tmp_path / "photos", size=16)


@pytest.fixture
def unlabeled(tmp_path):
    write_classes(tmp_path / "more", classes=("a", "b"), each=3)
    return tmp_path / "more"


def test_a_folder_beside_images_in_files(labeled, unlabeled):
    (unlabeled / "a" / "broken.png").write_text("no image")
    with pytest.raises(UserError, match="data.unlabeled: .*broken.png cannot be read as an image: is no image; data"):
        labeled.with_unlabeled(unlabeled)
    data = labeled.with_unlabeled(unlabeled, skip_bad=True)
    assert data.skipped == ("a/broken.png: is no image",)
    assert (len(data.unlabeled), data.unlabeled.shape) == (6, (3, 16, 16))
    assert isinstance(data.joined, FolderSet)
    assert data.joined.labels.tolist() == [*labeled.train.labels.tolist(), *[-100] * 6]
    assert "unreadable" in data.notes[-1]
    assert "6 unlabeled" in data.description[0]
    assert data.fingerprint == labeled.fingerprint
    assert "unlabeled" in data.fingerprints
    batch = next(data.source(data.joined).batches(Schedule(14, batch_size=14).plan(0)))
    alone = next(data.source(data.unlabeled).batches(Schedule(6, batch_size=6).plan(0)))
    assert torch.equal(batch.inputs[8:], alone.inputs)


def test_the_joined_fingerprint_follows_a_copy_of_both_folders(labeled, unlabeled, tmp_path):
    copy = tmp_path / "copy"
    for name in ("photos", "more"):
        shutil.copytree(tmp_path / name, copy / name)
    other = load("image_folder", root=copy / "photos", size=16).with_unlabeled(copy / "more")
    assert other.joined_fingerprint == labeled.with_unlabeled(unlabeled).joined_fingerprint != labeled.fingerprint


def test_a_folder_beside_images_in_memory(unlabeled):
    data = load("fashion_mnist_sample", train_limit=20).with_unlabeled(unlabeled)
    assert isinstance(data.joined, ImageSet)
    assert data.joined.images.shape == (26, 1, 28, 28)
    assert torch.equal(data.joined.images[:20], data.train.images)


def test_images_of_the_splits_are_left_out(labeled, tmp_path, unlabeled):
    shutil.copytree(unlabeled, tmp_path / "photos" / "cat" / "more")
    data = labeled.with_unlabeled(tmp_path / "photos")
    assert {path.parent.name for path in data.unlabeled.paths} == {"a", "b"}
    assert "10 labeled" in data.notes[-1]
    with pytest.raises(UserError, match=r"data.unlabeled: .* holds no images that can be read and are no labeled ones"):
        labeled.with_unlabeled(tmp_path / "photos" / "dog")


def test_each_unlabeled_sample_comes_once_before_any_comes_again():
    schedule = PartlyLabeled.of_share(10, 7, 8, 0.5, shuffle=True, seed=3)
    assert (schedule.bounds, schedule.per_batch) == ((0, 8, 16, 20), 4)
    drawn = []
    for epoch in range(7):
        plan = schedule.plan(epoch)
        assert torch.equal(plan.order, schedule.plan(epoch).order)
        known = plan.order[plan.order < 10]
        assert known.sort().values.tolist() == list(range(10))
        drawn += (plan.order[plan.order >= 10] - 10).tolist()
        counts = [(int((part >= 10).sum()), len(part)) for part in parts(plan)]
        assert counts == [(4, 8), (4, 8), (2, 4)]
    for start in range(0, len(drawn), 7):
        assert sorted(drawn[start : start + 7]) == list(range(7))
    assert drawn[:7] != drawn[7:14]


def parts(plan):
    return [plan.order[start:end] for start, end in pairwise(plan.bounds)]


def test_processes_share_the_unlabeled_samples():
    plans = [PartlyLabeled.of_share(8, 100, 4, 0.75, shuffle=True, rank=rank, world_size=2).plan(2) for rank in (0, 1)]
    without = [set(plan.order[plan.order >= 8].tolist()) for plan in plans]
    assert len(without[0] | without[1]) == 24
    assert not without[0] & without[1]


@pytest.mark.parametrize(
    ("batch_size", "share", "expected"), [(2, 0.01, 1), (2, 0.99, 1), (64, 0.75, 48), (9, 0.25, 2)]
)
def test_a_batch_has_at_least_one_of_each_kind(batch_size, share, expected):
    assert PartlyLabeled.of_share(100, 5, batch_size, share).per_batch == expected


def test_a_batch_of_one_is_refused():
    with pytest.raises(UserError, match=r"training.batch_size: got 1 with data.unlabeled, expected at least 2"):
        PartlyLabeled.of_share(100, 5, 1, 0.5)
