"""COCO's files: layouts, classes, crowds, and one clear line for what cannot be read."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from boxes_files import SIZE, SPLITS
from limbeck.data import load
from limbeck.errors import UserError


def rewrite(root, split="train", **changes):
    path = root / "annotations" / f"{split}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def entry(root, number, kind="annotations", **changes):
    content = json.loads((root / "annotations" / "train.json").read_text())
    content[kind][number].update(changes)
    rewrite(root, **content)


def test_boxes_and_classes_are_read(coco_root):
    data = load("coco", root=coco_root)
    # By their numbers: 3 is dog, 7 is cat.
    assert data.classes == ("dog", "cat")
    assert (len(data.train), len(data.test), data.validation, data.shape) == (3, 1, None, (3, *SIZE))
    first, _, empty = data.train.targets
    assert first["boxes"].tolist() == [[1, 2, 11, 12], [0, 0, 30, 20]]
    assert first["labels"].tolist() == [1, 2]
    assert (empty["boxes"].shape, empty["labels"].shape) == ((0, 4), (0,))
    assert data.train.labels.tolist() == [1, 1, 0]
    assert "crowd" not in first
    pixels = np.array(Image.open(coco_root / "images" / "train" / "b.png"))
    assert torch.equal(data.train.images[1], torch.from_numpy(pixels).permute(2, 0, 1))
    assert data.notes == ("images without boxes: 1",)
    assert data.description[0].endswith("3 training and 1 test images with 4 boxes, 30x20 rgb")


def test_pycocotools_reads_the_same(coco_root, capfd):
    reference = COCO(coco_root / "annotations" / "train.json")
    data = load("coco", root=coco_root)
    for number, target in zip(sorted(reference.getImgIds()), data.train.targets, strict=True):
        found = reference.loadAnns(reference.getAnnIds(number))
        names = [reference.loadCats(annotation["category_id"])[0]["name"] for annotation in found]
        assert [data.classes[label - 1] for label in target["labels"]] == names
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (annotation["bbox"] for annotation in found)]
        assert target["boxes"].tolist() == boxes


def moved(root, layout):
    """Move the files of both splits: the annotation file and the folder of images."""
    for split in SPLITS:
        file, folder = (place.format(split) for place in layout)
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / "annotations" / f"{split}.json").rename(root / file)
        (root / folder).parent.mkdir(parents=True, exist_ok=True)
        for image in (root / "images" / split).iterdir():
            (root / folder).mkdir(exist_ok=True)
            image.rename(root / folder / image.name)


@pytest.mark.parametrize(
    "layout",
    [
        ("annotations/instances_{}2017.json", "{}2017"),
        ("annotations/instances_{}2017.json", "images/{}2017"),
        ("annotations/{}.json", "{}"),
        ("{}.json", "images"),
        ("{}.json", "{}/images"),
        ("{}/_annotations.coco.json", "{}"),
        ("{}/annotations.json", "{}/images"),
    ],
)
def test_layouts(layout, coco_root):
    expected = load("coco", root=coco_root).fingerprints
    moved(coco_root, layout)
    assert load("coco", root=coco_root).fingerprints == expected


def test_files_that_are_named(coco_root):
    expected = load("coco", root=coco_root).fingerprints
    moved(coco_root, ("labels/of_{}.json", "pictures"))
    files = {split: f"labels/of_{split}.json" for split in SPLITS}
    assert load("coco", root=coco_root, options={"annotations": files, "images": "pictures"}).fingerprints == expected
    folders = dict.fromkeys(SPLITS, "pictures")
    assert load("coco", root=coco_root, options={"annotations": files, "images": folders}).fingerprints == expected
    with pytest.raises(UserError, match="data.options.images: got train, expected the folder of test too"):
        load("coco", root=coco_root, options={"annotations": files, "images": {"train": "pictures"}})
    with pytest.raises(UserError, match="data.options.annotations: unknown split 'trial'"):
        load("coco", root=coco_root, options={"annotations": {"trial": "labels/of_test.json"}})


def test_one_file_without_splits_is_cut(coco_root):
    options = {"annotations": "annotations/train.json", "images": "images/train"}
    data = load("coco", root=coco_root, test_share=0.3, options=options)
    assert (len(data.train), len(data.test)) == (2, 1)
    with pytest.raises(UserError, match="data.test_share: got a share of 0.01"):
        load("coco", root=coco_root, test_share=0.01, options=options)


def test_a_validation_split_stands_in_for_a_missing_test_split(coco_root):
    (coco_root / "annotations" / "test.json").rename(coco_root / "annotations" / "val.json")
    (coco_root / "images" / "test").rename(coco_root / "images" / "val")
    data = load("coco", root=coco_root)
    assert (len(data.test), data.validation) == (1, None)
    assert data.notes[0] == "the validation split is the test split, as there is no other"


def test_classes_of_a_split_are_found_by_name(coco_root):
    (coco_root / "annotations" / "test.json").write_text(json.dumps(SPLITS["test"].coco(numbers=(1, 2))))
    data = load("coco", root=coco_root)
    assert data.classes[int(data.test.targets[0]["labels"]) - 1] == "cat"
    data = load("coco", root=coco_root, options={"classes": ["cat", "dog", "cow"]})
    assert data.train.targets[0]["labels"].tolist() == [2, 1]
    assert data.classes == ("cat", "dog", "cow")


def test_crowds_are_marked(coco_root):
    entry(coco_root, 0, iscrowd=1)
    data = load("coco", root=coco_root)
    assert [target["crowd"].tolist() for target in data.train.targets] == [[True, False], [False], []]
    # In every split, so that all batches have the same entries.
    assert data.test.targets[0]["crowd"].tolist() == [False]


def test_boxes_that_are_none_are_left_out_and_named(coco_root):
    content = json.loads((coco_root / "annotations" / "train.json").read_text())
    boxes = [[1, 2, 0, 5], [1, 2, 5, -3], [40, 2, 5, 5], [-5, -5, 5, 5], [math.nan, 1, 2, 3]]
    for number, box in enumerate([*boxes, [-2, 3, 6, 4], [25, 15, 9, 9], [20, 10, 10.001, 10]]):
        image = 102 if number < 7 else 101
        content["annotations"].append({"id": 50 + number, "image_id": image, "category_id": 3, "bbox": box})
    rewrite(coco_root, **content)
    data = load("coco", root=coco_root)
    assert data.train.targets[2]["boxes"].tolist() == [[0, 3, 4, 7], [25, 15, 30, 20]]
    assert data.train.targets[1]["boxes"][1].tolist() == [20, 10, 30, 20]
    assert data.notes == (
        "boxes without area or outside of their image, left out: 5 "
        "(c.png annotation 50, c.png annotation 51, c.png annotation 52, ...)",
        "boxes that end outside of their image, clipped: 2 (c.png annotation 55, c.png annotation 56)",
    )


def test_a_box_too_thin_to_be_mirrored_is_left_out(coco_root):
    """In float32 its edges would be one number at the other side of the image, at which a training would stop."""
    entry(coco_root, 2, bbox=[1e-7, 5, 1e-7, 10])
    data = load("coco", root=coco_root)
    assert data.train.targets[1]["boxes"].shape == (0, 4)
    assert any("left out: 1 (b.png annotation 2)" in note for note in data.notes)


@pytest.mark.parametrize(
    ("settings", "shape"), [({"size": 40}, (40, 60)), ({"options": {"shape": [10, 60]}}, (10, 60))]
)
def test_images_and_boxes_are_resized(settings, shape, coco_root):
    data = load("coco", root=coco_root, **settings)
    assert data.shape == (3, *shape)
    down, across = shape[0] / SIZE[0], shape[1] / SIZE[1]
    assert data.train.targets[1]["boxes"].tolist() == [[5 * across, 5 * down, 9 * across, 15 * down]]


def test_images_in_files_are_those_in_memory(coco_root):
    for settings in ({}, {"size": 15}):
        memory, disk = (load("coco", root=coco_root, options={"in_memory": kept}, **settings) for kept in (True, False))
        assert isinstance(memory.train.images[0], torch.Tensor)
        assert not isinstance(disk.train.images[0], torch.Tensor)
        batches = (next(data.batches(data.train, batch_size=3).epoch(0)).inputs["images"] for data in (memory, disk))
        assert all(torch.equal(*pair) for pair in zip(*batches, strict=True))
    workers = disk.batches(disk.train, batch_size=2, workers=2)
    assert [len(batch.targets) for batch in workers.epoch(0)] == [2, 1]
    (coco_root / "images" / "train" / "b.png").unlink()
    for options in ({}, {"workers": 1}):
        with pytest.raises(UserError, match="b.png cannot be read as an image"):
            list(disk.batches(disk.train, batch_size=2, **options).epoch(0))
    with pytest.raises(UserError, match="cannot read .*b.png"):
        _ = disk.fingerprint


def test_images_of_several_sizes(coco_root):
    Image.new("L", (40, 8)).save(coco_root / "images" / "train" / "c.png")
    entry(coco_root, 2, "images", width=40, height=8)
    data = load("coco", root=coco_root)
    assert data.shape == (3, 20, 40)
    assert [data.train.size(n) for n in range(3)] == [SIZE, SIZE, (8, 40)]
    assert "at most 40x20 rgb" in data.description[0]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda root: (root / "images" / "train" / "b.png").unlink(),
            r"images/train/b.png cannot be read as an image: No such .*, named in .*train.json; data.skip_bad",
        ),
        (
            lambda root: (root / "images" / "train" / "b.png").write_bytes(b"no"),
            "b.png cannot be read as an image: is no",
        ),
        (
            lambda root: entry(root, 0, "images", width=31),
            r"a.png: is 30x20 pixels, expected the 31x20 of .*train.json",
        ),
        (
            lambda root: entry(root, 1, image_id=5),
            "train.json annotation 1: is of image 5, expected one of the file's 3",
        ),
        (
            lambda root: entry(root, 1, "categories", id=7),
            "train.json has 2 categories, but only 1 ids of them",
        ),
        (lambda root: entry(root, 1, image_id=[5]), r"annotation 1: is of image \[5\], expected one of the file's 3"),
        (
            lambda root: entry(root, 1, category_id=5),
            "train.json annotation 1: is of category 5, expected one of the 2 classes",
        ),
        (lambda root: entry(root, 1, bbox=[1, 2, 3]), r"annotation 1: got for bbox \[1, 2, 3\], expected four numbers"),
        (lambda root: entry(root, 1, bbox=[1, 2, 3, "4"]), r"annotation 1: got for bbox \[1, 2, 3, '4'\]"),
        (lambda root: entry(root, 1, bbox=None), "annotation 1: got for bbox None"),
        (lambda root: entry(root, 1, bbox=[1, 2, 3, 10**400]), "annotation 1: got for bbox"),
        (lambda root: entry(root, 1, "images", id=100), "train.json has 3 images, but only 2 ids of them"),
        (lambda root: entry(root, 1, "images", file_name=None), "train.json image 101: has no file_name"),
        (lambda root: rewrite(root, images=[]), "train.json has no images, expected at least one"),
        (lambda root: rewrite(root, annotations={}), "train.json has no list 'annotations' of entries with an id"),
        (lambda root: rewrite(root, categories=[{"id": 1}]), "train.json has categories without a name"),
        (lambda root: rewrite(root, categories=[{"id": [1], "name": "a"}]), "has no list 'categories' of entries"),
        (
            lambda root: rewrite(root, categories=[{"id": n, "name": "a"} for n in (3, 7)]),
            "data.options.classes: got 2 names, 1 of them different",
        ),
        (lambda root: rewrite(root, categories=[]), "got 0 names"),
        (
            lambda root: (root / "annotations" / "train.json").write_text('{"images": [1'),
            "train.json cannot be read as annotations",
        ),
        (lambda root: (root / "annotations" / "train.json").write_text("[]"), "train.json has no list 'images'"),
        (
            lambda root: (root / "annotations" / "train.json").unlink(),
            "has no annotations of the split train, expected",
        ),
        (lambda root: (root / "annotations" / "test.json").unlink(), "has no split test, expected one beside train"),
        (
            lambda root: [(root / "annotations" / f"instances_train{n}.json").touch() for n in (1, 2)],
            "has instances_train1.json and instances_train2.json, expected one of them in data.options.annotations",
        ),
    ],
)
def test_what_is_wrong_is_named_in_one_line(change, line, coco_root):
    change(coco_root)
    with pytest.raises(UserError, match=line) as error:
        load("coco", root=coco_root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"options": {"classes": ["cat"]}},
            r"train.json annotation 0: is of category 3 \(dog\), expected one of the 1",
        ),
        ({"options": {"shape": [3]}}, r"data.options.shape: got \[3\], expected height and width"),
        ({"options": {"shape": [0, 3]}}, r"data.options.shape: got \[0, 3\]"),
        ({"size": 4, "options": {"shape": [3, 3]}}, "data.size: got 4 beside data.options.shape"),
        ({"size": 0}, "data.size: got 0"),
        ({"options": {"in_memory": "tape"}}, "data.options.in_memory: got 'tape'"),
        ({"options": {"annotation": "a"}}, "data.options: unknown option 'annotation'; did you mean 'annotations'"),
        ({"color": "gray"}, "data.color: got 'gray', but data set 'coco' takes"),
        ({"options": {"annotations": "nowhere.json"}}, "nowhere.json cannot be read as annotations"),
    ],
)
def test_wrong_options_are_refused(options, line, coco_root):
    with pytest.raises(UserError, match=line):
        load("coco", root=coco_root, **options)


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="data.root: got none, expected the folder of coco"):
        load("coco")
    (tmp_path / "coco.zip").write_bytes(b"no folder")
    with pytest.raises(UserError, match="expected the folder of coco; unpack the archive"):
        load("coco", root=tmp_path / "coco.zip")
