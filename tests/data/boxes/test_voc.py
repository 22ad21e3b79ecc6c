"""Folders in the layout of Pascal VOC, and one clear line for what cannot be read."""

import pytest

from boxes_files import SIZE, xml
from limbeck.data import load
from limbeck.errors import UserError


def annotate(root, name, rows, **more):
    (root / "Annotations" / f"{name}.xml").write_text(xml(rows, **more))


def test_boxes_and_classes_are_read(voc_root):
    data = load("voc", root=voc_root)
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.test), data.validation, data.shape) == (3, 1, None, (3, *SIZE))
    assert data.train.targets[0]["boxes"].tolist() == [[1, 2, 11, 12], [0, 0, 30, 20]]
    assert data.train.targets[0]["labels"].tolist() == [2, 1]
    assert data.test.targets[0]["boxes"].tolist() == [[3, 4, 8, 9]]
    assert data.notes == ("images without boxes: 1",)


def test_coco_and_voc_files_of_the_same_boxes_are_the_same(coco_root, tmp_path_factory):
    from boxes_files import SPLITS

    root = tmp_path_factory.mktemp("voc")
    for name, drawn in SPLITS.items():
        drawn.voc(root, name)
    one, other = load("coco", root=coco_root, options={"classes": ["cat", "dog"]}), load("voc", root=root)
    assert one.fingerprints == other.fingerprints


def test_a_nested_folder_and_named_lists(voc_root):
    lists = voc_root / "ImageSets" / "Main"
    (lists / "trainval.txt").write_text("a 1\nb -1\n\n")
    home = voc_root / "VOCdevkit" / "VOC2007"
    home.mkdir(parents=True)
    for part in ("Annotations", "ImageSets", "JPEGImages"):
        (voc_root / part).rename(home / part)
    data = load("voc", root=voc_root, options={"splits": {"train": "trainval", "test": "test"}})
    assert (len(data.train), len(data.test)) == (2, 1)
    with pytest.raises(UserError, match="data.options.splits: unknown split 'whole'"):
        load("voc", root=voc_root, options={"splits": {"whole": "trainval"}})
    (voc_root / "VOCdevkit" / "VOC2012" / "ImageSets").mkdir(parents=True)
    with pytest.raises(UserError, match="has 2 such folders, expected JPEGImages"):
        load("voc", root=voc_root)


def test_a_validation_split(voc_root):
    lists = voc_root / "ImageSets" / "Main"
    (lists / "val.txt").write_text("c\n")
    assert len(load("voc", root=voc_root).validation) == 1
    (lists / "test.txt").unlink()
    data = load("voc", root=voc_root)
    assert (len(data.test), data.validation) == (1, None)
    assert data.notes[0].startswith("the validation split is the test split")


def test_pixels_that_are_counted_from_zero(voc_root):
    data = load("voc", root=voc_root, options={"first_pixel": 0})
    assert data.test.targets[0]["boxes"].tolist() == [[4, 5, 8, 9]]
    with pytest.raises(UserError, match="data.options.first_pixel: got 2, expected 0 or 1"):
        load("voc", root=voc_root, options={"first_pixel": 2})


def test_difficult_objects(voc_root):
    annotate(voc_root, "b", [("dog", 5, 5, 9, 15)], difficult=1)
    assert len(load("voc", root=voc_root).train.targets[1]["labels"]) == 1
    assert len(load("voc", root=voc_root, options={"difficult": False}).train.targets[1]["labels"]) == 0


def test_boxes_that_are_none_are_left_out_and_named(voc_root):
    # In the file the edges of the first are one pixel, as a click gives them.
    rows = [("dog", 4, 4, 5, 5), ("dog", "4 + ", 4, 5, 5), ("dog", 20, 10, 50, 19), ("cat", 5, 5, 9, 15)]
    annotate(voc_root, "b", [rows[0], rows[2], rows[3]])
    data = load("voc", root=voc_root)
    assert data.train.targets[1]["boxes"].tolist() == [[20, 10, 30, 19], [5, 5, 9, 15]]
    assert data.notes[:2] == (
        "boxes without area or outside of their image, left out: 1 (b.xml box 1)",
        "boxes that end outside of their image, clipped: 1 (b.xml box 2)",
    )
    (voc_root / "Annotations" / "b.xml").write_text(xml(rows[2:]).replace("<xmax>50", "<xmax>nan"))
    assert load("voc", root=voc_root).notes[0].endswith("left out: 1 (b.xml box 1)")


def test_sizes_that_are_not_given(voc_root):
    for name, width in {"a": "0", "b": "", "c": "\u00b2"}.items():
        path = voc_root / "Annotations" / f"{name}.xml"
        path.write_text(path.read_text().replace("<width>30<", f"<width>{width}<"), encoding="utf-8")
    assert load("voc", root=voc_root).shape == (3, *SIZE)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda root: (root / "JPEGImages" / "b.png").unlink(),
            "JPEGImages/b: named in .*Main, has no image, expected one there; data.skip_bad",
        ),
        (lambda root: (root / "Annotations" / "b.xml").unlink(), "b.xml: cannot be read as annotations"),
        (
            lambda root: (root / "Annotations" / "b.xml").write_text("<annotation>"),
            "b.xml: cannot be read as annotations",
        ),
        (
            lambda root: (root / "Annotations" / "b.xml").write_text('<?xml version="1.0" encoding="x"?><annotation/>'),
            "b.xml: cannot be read as annotations .*unknown encoding: x",
        ),
        (
            lambda root: annotate(root, "b", [("dog", 5, 5, 9, "low")]),
            "b.xml: box 1: got xmin '6', ymin '6', xmax '9', ymax 'low', expected four numbers",
        ),
        (
            lambda root: (root / "Annotations" / "b.xml").write_text(
                "<annotation><object><name>dog</name></object></annotation>"
            ),
            "b.xml: box 1: got xmin '', ymin ''",
        ),
        (lambda root: annotate(root, "b", [], size=(20, 31)), r"b.png: is 30x20 pixels, expected the 31x20 of .*b.xml"),
        (lambda root: (root / "ImageSets" / "Main" / "train.txt").unlink(), "has no split train, expected JPEGImages"),
        (
            lambda root: (root / "ImageSets" / "Main" / "test.txt").unlink(),
            "has no split test, expected one beside train",
        ),
        (lambda root: (root / "ImageSets" / "Main" / "train.txt").write_text("\n"), "train.txt names no image"),
        (lambda root: (root / "ImageSets" / "Main" / "train.txt").write_bytes(b"\xff"), "train.txt cannot be read"),
        (lambda root: (root / "ImageSets").rename(root / "Sets"), "has no ImageSets, expected JPEGImages"),
        (lambda root: [annotate(root, name, []) for name in "abcd"], "no box has a class"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(change, line, voc_root):
    change(voc_root)
    with pytest.raises(UserError, match=line) as error:
        load("voc", root=voc_root)
    assert "\n" not in str(error.value)


def test_an_unknown_class_is_refused(voc_root):
    with pytest.raises(UserError, match="a.xml box 1: unknown class 'dog'"):
        load("voc", root=voc_root, options={"classes": ["cat", "cow"]})
    with pytest.raises(UserError, match="data.options.classes: got 2 names, 1 of them different"):
        load("voc", root=voc_root, options={"classes": ["cat", "cat"]})


@pytest.mark.shared
def test_bccd_is_read_whole(shared, tmp_path):
    import zipfile

    with zipfile.ZipFile(shared / "data" / "bccd" / "bccd-voc.zip") as archive:
        archive.extractall(tmp_path)
    data = load("voc", root=tmp_path, size=96, options={"in_memory": False})
    assert (len(data.train), len(data.validation), len(data.test)) == (205, 87, 72)
    assert data.classes == ("Platelets", "RBC", "WBC")
    splits = (data.train, data.validation, data.test)
    counts = sum(target["labels"].bincount(minlength=4) for split in splits for target in split.targets)
    # 4,155 red cells are annotated, two of them without area.
    assert counts.tolist() == [0, 361, 4153, 372]
    assert data.notes == (
        "boxes without area or outside of their image, left out: 2 "
        "(BloodImage_00343.xml box 4, BloodImage_00338.xml box 13)",
    )
