import os
from pathlib import Path

import pytest
import torch

from limbeck.data import FolderSet, ImageSet, fingerprint
from limbeck.errors import UserError

IMAGES = torch.arange(3 * 2 * 4 * 5, dtype=torch.uint8).view(3, 2, 4, 5)
LABELS = torch.tensor([2, 0, 1])


def test_select_keeps_the_given_order():
    chosen = ImageSet(IMAGES, LABELS).select(torch.tensor([2, 0]))
    assert torch.equal(chosen.images, IMAGES[[2, 0]])
    assert chosen.labels.tolist() == [1, 2]
    assert chosen.shape == (2, 4, 5)


def test_select_of_a_folder_set_keeps_its_settings():
    split = FolderSet(Path("r"), (Path("r/a"), Path("r/b")), torch.tensor([0, 1]), "gray", 9)
    chosen = split.select(torch.tensor([1]))
    assert (chosen.paths, chosen.labels.tolist(), chosen.shape, len(chosen)) == ((Path("r/b"),), [1], (1, 9, 9), 1)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES.float(), LABELS, r"images: got torch.float32 \(3, 2, 4, 5\), expected torch.uint8 \(N, C, H, W\)"),
        (IMAGES[0], LABELS, r"images: got torch.uint8 \(2, 4, 5\)"),
        (IMAGES, LABELS[:2], r"labels: got torch.int64 \(2,\), expected torch.int64 \(3,\)"),
        (IMAGES, LABELS.int(), r"labels: got torch.int32 \(3,\)"),
    ],
)
def test_image_set_checks_its_tensors(images, labels, message):
    with pytest.raises(UserError, match=message):
        ImageSet(images, labels)


@pytest.mark.parametrize(
    ("labels", "color", "size", "message"),
    [
        ([0, 1], "rgb", 8, r"labels: got torch.int64 \(2,\), expected torch.int64 \(1,\)"),
        ([0], "rgb", 0, "data.size: got 0"),
        ([0], "blue", 8, "data.color: got 'blue'"),
    ],
)
def test_folder_set_checks_its_settings(labels, color, size, message):
    with pytest.raises(UserError, match=message):
        FolderSet(Path("r"), (Path("r/a"),), torch.tensor(labels), color, size)


def test_fingerprint_depends_on_every_pixel_and_label():
    split = ImageSet(IMAGES, LABELS)
    other_pixel, other_label = IMAGES.clone(), LABELS.clone()
    other_pixel[-1, -1, -1, -1] ^= 1
    other_label[-1] = 0
    prints = {fingerprint(s) for s in (split, ImageSet(other_pixel, LABELS), ImageSet(IMAGES, other_label))}
    reshaped = ImageSet(IMAGES.view(3, 2, 5, 4), LABELS)
    assert len(prints | {fingerprint(reshaped)}) == 4
    assert fingerprint(ImageSet(IMAGES.clone(), LABELS.clone())) == fingerprint(split)


def test_fingerprint_of_files_depends_on_names_contents_and_settings_but_neither_place_nor_time(tmp_path):
    def make(root, name="a.png", content=b"12", color="rgb", size=8, label=0, changed=1):
        (tmp_path / root).mkdir(exist_ok=True)
        path = tmp_path / root / name
        path.write_bytes(content)
        os.utime(path, (changed, changed))
        return fingerprint(FolderSet(tmp_path / root, (path,), torch.tensor([label]), color, size))

    first = make("here")
    assert make("there") == make("there", changed=2) == first
    others = [make("x", "b.png"), make("x", content=b"123"), make("x", color="gray"), make("x", size=9)]
    assert len({first, make("x", label=1), make("x", content=b"13"), *others}) == 7


@pytest.mark.parametrize(("size", "places"), [(98304, range(0, 98304, 9973)), (10**6, [0, 500_000, 999_999])])
def test_fingerprint_of_large_files_reads_their_start_middle_and_end(tmp_path, size, places):
    path = tmp_path / "a.bmp"

    def make(at=None):
        content = bytearray(size)
        if at is not None:
            content[at] = 1
        path.write_bytes(content)
        return fingerprint(FolderSet(tmp_path, (path,), torch.tensor([0]), "rgb", 8))

    assert len({make(), make(), *map(make, places)}) == len(places) + 1


def test_fingerprint_of_a_file_that_is_gone(tmp_path):
    split = FolderSet(tmp_path, (tmp_path / "a.png",), torch.tensor([0]), "rgb", 8)
    with pytest.raises(UserError, match=r"data.root: cannot read .*a.png: No such file"):
        fingerprint(split)
