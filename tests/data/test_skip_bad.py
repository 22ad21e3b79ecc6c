"""Samples that cannot be read: an error that names the first, or left out and listed, alike for all kinds of files."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from boxes_files import SPLITS
from data_layouts import write_classes, write_image, write_tiny_imagenet
from image_files import colors, content, cut_jpeg, png, turned, whole_files
from limbeck.data import load
from limbeck.errors import UserError

HINT = "; data.skip_bad: true leaves such files out"


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    write_classes(root, each=8)
    return root


def damage(root, names=("cat/3.png", "dog/1.png")):
    for name in names:
        (root / name).write_bytes(b"no image")


def write_masks(root, count=4):
    for split in ("train", "test"):
        for number in range(count):
            for part in ("images", "masks"):
                (root / split / part).mkdir(parents=True, exist_ok=True)
            colors().save(root / split / "images" / f"{number}.png")
            Image.fromarray(np.full((6, 8), number % 2, np.uint8)).save(root / split / "masks" / f"{number}.png")


def write_coco(root):
    for name, drawn in SPLITS.items():
        drawn.write(root / name)
        (root / f"{name}.json").write_text(json.dumps(drawn.coco()))


def write_voc(root):
    for name, drawn in SPLITS.items():
        drawn.voc(root, name)


def test_a_folder_without_its_bad_files_is_the_folder_without_them(photos):
    damage(photos)
    (photos / "dog" / "5.png").write_bytes(b"")
    with pytest.raises(UserError) as error:
        load("image_folder", root=photos, size=16)
    first = f"data.root: {photos / 'dog' / '5.png'}: is empty (and 2 more that cannot be read)"
    assert str(error.value) == first + HINT
    data = load("image_folder", root=photos, size=16, skip_bad=True)
    assert data.skipped == ("dog/5.png: empty", "cat/3.png: is no image", "dog/1.png: is no image")
    assert data.description[-1].startswith("skipped 3 files: 1 empty (dog/5.png), 2 unreadable (cat/3.png: is no image")
    for name in ("cat/3.png", "dog/1.png", "dog/5.png"):
        (photos / name).unlink()
    assert load("image_folder", root=photos, size=16).fingerprints == data.fingerprints


def test_with_skip_bad_no_image_fails_later(photos):
    for path in ("cat/7.jpg", "dog/9.jpg"):
        (photos / path).write_bytes(cut_jpeg())
    data = load("image_folder", root=photos, size=16)
    for workers in (0, 2):
        with pytest.raises(UserError, match=f"cannot be read as an image: image file is truncated .*{HINT}$") as error:
            list(data.batches(data.joined, batch_size=4, workers=workers).epoch(2))
        assert "Traceback" not in str(error.value)
    data = load("image_folder", root=photos, size=16, skip_bad=True)
    assert [line.partition(":")[0] for line in data.skipped] == ["cat/7.jpg", "dog/9.jpg"]
    batches = [list(data.batches(data.train, batch_size=4, workers=w).epoch(2)) for w in (0, 2)]
    assert all(torch.equal(one.inputs, two.inputs) for one, two in zip(*batches, strict=True))


def test_a_class_of_which_nothing_is_left_is_refused(photos):
    damage(photos, [f"cat/{number}.png" for number in range(8)])
    with pytest.raises(UserError, match=r"the class folder .*cat holds no images that can be read \(skipped 8 files"):
        load("image_folder", root=photos, size=16, skip_bad=True)


def test_a_folder_that_cannot_be_listed_is_named(photos, monkeypatch):
    (photos / "cat" / "locked").mkdir()
    listed = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match="data.root: cannot list .*locked: Permission denied"):
        load("image_folder", root=photos, size=16, skip_bad=True)


def test_a_class_folder_around_all_others_is_refused(photos):
    (photos / "loop").symlink_to(photos)
    with pytest.raises(UserError, match=f"the class folder {photos / 'loop'} is a link to .*, which holds it"):
        load("image_folder", root=photos, size=16)
    (photos / "loop").unlink()
    (photos / "self").symlink_to(photos / "self")
    (photos / "cat" / "deep").symlink_to(photos)
    assert len(load("image_folder", root=photos, size=16).train) == 12


def test_a_folder_with_the_name_of_an_image_is_a_folder(photos):
    write_image(photos / "cat" / "a.jpg" / "inside.png")
    data = load("image_folder", root=photos, size=16)
    assert len(data.train) + len(data.test) == 17


def test_labels_in_a_table(photos):
    rows = "".join(f"cat/{number}.png,{number % 2},1\n" for number in range(8))
    (photos / "labels.csv").write_text("file,a,b\n" + rows)
    (photos / "cat" / "3.png").unlink()
    options = {"labels": "labels.csv"}
    with pytest.raises(UserError, match="names the image 'cat/3.png', which is not in"):
        load("image_folder", root=photos, size=16, options=options)
    (photos / "cat" / "4.png").write_bytes(b"no image")
    data = load("image_folder", root=photos, size=16, options=options, skip_bad=True)
    assert data.skipped == ("cat/3.png: No such file or directory", "cat/4.png: is no image")
    assert len(data.train) + len(data.test) == 6


def test_tiny_imagenet(tmp_path):
    write_tiny_imagenet(tmp_path)
    path = next(iter(sorted(tmp_path.rglob("train/n01/images/*.JPEG"))))
    path.write_bytes(b"no image")
    with pytest.raises(UserError, match=f"{path.name} cannot be read as an image: is no image"):
        load("tiny_imagenet", root=tmp_path)
    data = load("tiny_imagenet", root=tmp_path, skip_bad=True)
    assert [line.rpartition(": ")[2] for line in data.skipped] == ["is no image"]
    assert data.train.labels.tolist() == [0] * 2 + [1] * 3


MASK_DAMAGE = [
    (lambda root: (root / "train/images/1.png").write_bytes(b"no"), "train/images/1.png", "is no image"),
    (lambda root: (root / "train/masks/1.png").write_bytes(b"no"), "train/masks/1.png", "is no image"),
    (lambda root: (root / "train/masks/1.png").unlink(), "train/images/1.png", "has no mask"),
    (lambda root: Image.new("L", (4, 6)).save(root / "train/masks/1.png"), "train/masks/1.png", "is 4x6, expected the"),
    (lambda root: colors().save(root / "train/masks/1.png"), "train/masks/1.png", "is an image of colors (RGB)"),
    (lambda root: Image.new("L", (8, 6), 9).save(root / "train/masks/1.png"), "train/masks/1.png", "has the value 9"),
    (lambda root: os.mkfifo(root / "train/masks/9.png") or colors().save(root / "train/images/9.png"),
     "train/masks/9.png", "is a pipe"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "name", "reason"), MASK_DAMAGE, ids=[reason for _, _, reason in MASK_DAMAGE])
def test_masks(tmp_path, change, name, reason):
    write_masks(tmp_path)
    change(tmp_path)
    options = {"classes": ["a", "b"]}
    with pytest.raises(UserError) as error:
        load("mask_folder", root=tmp_path, options=options)
    assert str(error.value).startswith(f"data.root: {tmp_path / name}: ")
    assert reason in str(error.value)
    assert str(error.value).endswith(HINT)
    data = load("mask_folder", root=tmp_path, options=options, skip_bad=True)
    assert len(data.train) == (4 if "9" in name else 3)
    assert len(data.skipped) == 1
    assert data.skipped[0].startswith(f"{name}: ")
    assert data.notes == (f"skipped 1 file: 1 unusable ({data.skipped[0][:200]})",)


def test_masks_of_which_nothing_is_left(tmp_path):
    write_masks(tmp_path)
    for path in (tmp_path / "test" / "masks").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="has no images with masks of the split test that can be read"):
        load("mask_folder", root=tmp_path, skip_bad=True)


def test_images_of_masks_are_upright_and_keep_their_grays(tmp_path):
    write_masks(tmp_path)
    wide = whole_files()["wide.png"]
    for split in ("train", "test"):
        for number in range(4):
            (tmp_path / split / "images" / f"{number}.png").write_bytes(wide)
    data = load("mask_folder", root=tmp_path)
    assert np.array_equal(data.train.images[0, 0].numpy(), np.asarray(colors().convert("L")))
    image = tmp_path / "train" / "images" / "1.png"
    image.write_bytes(content(colors((6, 8)), "PNG", exif=turned(colors(), 6)))
    upright = load("mask_folder", root=tmp_path, color="rgb").train.images[1]
    assert torch.equal(upright, torch.from_numpy(np.asarray(colors((6, 8))).copy()).permute(2, 0, 1).rot90(-1, (1, 2)))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_masks_of_few_bits_have_their_own_values(tmp_path, bits):
    write_masks(tmp_path)
    values = np.arange(48).reshape(6, 8) % min(2**bits, 16)
    packed = np.packbits((values[..., None] >> np.arange(bits)[::-1]) & 1, axis=None).reshape(6, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    (tmp_path / "train" / "masks" / "0.png").write_bytes(png(8, 6, bits, 0, rows))
    assert np.array_equal(load("mask_folder", root=tmp_path).train.masks[0].numpy(), values)


def rewritten(root, **changes):
    path = root / "train.json"
    values = json.loads(path.read_text())
    for key, (number, entry) in changes.items():
        values[key][number] |= entry
    path.write_text(json.dumps(values))


COCO_DAMAGE = [
    (lambda root: (root / "train" / "b.png").write_bytes(b"no"), "is no image"),
    (lambda root: (root / "train" / "b.png").unlink(), "named in"),
    (lambda root: rewritten(root, images=(1, {"width": 31})), "is 30x20 pixels, expected the 31x20 of"),
    (lambda root: rewritten(root, images=(1, {"width": 10**3000})), "is 30x20 pixels, expected the 1000"),
    (lambda root: rewritten(root, annotations=(2, {"bbox": [1, 2]})), "got for bbox [1, 2], expected four numbers"),
    (lambda root: Image.new("RGB", (30, 1)).save(root / "train" / "b.png"), "is 30x1 pixels"),
]


@pytest.mark.parametrize(("change", "reason"), COCO_DAMAGE, ids=[reason for _, reason in COCO_DAMAGE])
def test_coco(tmp_path, change, reason):
    write_coco(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError) as error:
        load("coco", root=tmp_path)
    assert str(error.value).startswith(f"data.root: {tmp_path / 'train' / 'b.png'}")
    assert reason in str(error.value)
    assert str(error.value).endswith(HINT)
    data = load("coco", root=tmp_path, skip_bad=True)
    assert (len(data.train), len(data.test), len(data.skipped)) == (2, 1, 1)
    assert data.skipped[0].startswith("train/b.png: ")
    assert data.notes[-1].startswith("skipped 1 file: ")


def test_what_is_wrong_with_the_whole_of_coco_is_no_sample(tmp_path):
    write_coco(tmp_path)
    rewritten(tmp_path, annotations=(1, {"image_id": 5}))
    with pytest.raises(UserError, match="is of image 5, expected one of the file's 3 images"):
        load("coco", root=tmp_path, skip_bad=True)
    (tmp_path / "train.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="train.json cannot be read as annotations"):
        load("coco", root=tmp_path, skip_bad=True)


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "nul\0.png", "\ud800.png", "line\nbreak.png"])
def test_coco_with_names_of_any_letters(tmp_path, name):
    write_coco(tmp_path)
    rewritten(tmp_path, images=(1, {"file_name": name}))
    with pytest.raises(UserError) as error:
        load("coco", root=tmp_path)
    assert str(error.value).isprintable()
    assert len(load("coco", root=tmp_path, skip_bad=True).train) == 2


def test_a_row_that_would_be_enlarged_to_gigabytes(tmp_path):
    write_coco(tmp_path)
    Image.new("RGB", (200_000, 1)).save(tmp_path / "train" / "b.png")
    rewritten(tmp_path, images=(1, {"height": 1, "width": 200_000}))
    with pytest.raises(UserError, match="is 200000x1 pixels, which data.size 48 makes 9600000x48, expected at most"):
        load("coco", root=tmp_path, size=48)
    assert len(load("coco", root=tmp_path, size=48, skip_bad=True).train) == 2


ENTITIES = "".join(f'<!ENTITY a{number} "{f"&a{number - 1};" * 12}">' for number in range(1, 10))
BOMB = f'<!DOCTYPE a [<!ENTITY a0 "{"a" * 40}">{ENTITIES}]><annotation><object><name>&a9;</name></object></annotation>'
VOC_DAMAGE = [
    ("<annotation>", "cannot be read as annotations"),
    (BOMB, "cannot be read as annotations"),
    (
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><name>&x;</name></annotation>',
        "undefined entity",
    ),
    ("<annotation><object><name>dog</name></object></annotation>", "box 1: got xmin ''"),
    ("", "no element found"),
]


@pytest.mark.parametrize(("text", "reason"), VOC_DAMAGE, ids=[reason for _, reason in VOC_DAMAGE])
def test_voc(tmp_path, text, reason):
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "b.xml").write_text(text)
    with pytest.raises(UserError, match=f"data.root: {tmp_path / 'Annotations' / 'b.xml'}: .*{reason}.*{HINT}$"):
        load("voc", root=tmp_path)
    data = load("voc", root=tmp_path, skip_bad=True)
    assert len(data.train) == 2
    assert data.skipped[0].startswith("Annotations/b.xml: ")


def test_voc_of_any_depth_and_size(tmp_path):
    write_voc(tmp_path)
    path = tmp_path / "Annotations" / "b.xml"
    path.write_text("<a>" * 20_000 + "</a>" * 20_000)
    assert len(load("voc", root=tmp_path).train) == 3
    path.write_text(f"<annotation><size><width>{'9' * 5000}</width><height>1</height></size></annotation>")
    assert len(load("voc", root=tmp_path).train) == 3
    (tmp_path / "JPEGImages" / "b.png").unlink()
    with pytest.raises(UserError, match="JPEGImages/b: named in .*Main, has no image, expected one there"):
        load("voc", root=tmp_path)
    assert load("voc", root=tmp_path, skip_bad=True).skipped[0].startswith("JPEGImages/b: named in")


def test_a_png_on_its_side_keeps_its_boxes(tmp_path):
    write_coco(tmp_path)
    data = content(colors((20, 30)), "PNG", exif=turned(colors(), 6))
    (tmp_path / "train" / "b.png").write_bytes(data)
    loaded = load("coco", root=tmp_path)
    assert loaded.train.size(1) == (20, 30)
    upright = torch.from_numpy(np.asarray(colors((20, 30))).copy()).permute(2, 0, 1).rot90(-1, (1, 2))
    assert torch.equal(loaded.train.image(1), upright)


def test_data_without_files_of_samples_refuse_it():
    with pytest.raises(UserError, match="data.skip_bad: got True, but data set 'iris' takes of such settings"):
        load("iris", skip_bad=True)
