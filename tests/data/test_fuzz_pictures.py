"""Damaged files of every reader of images, masks, boxes and their tables: each works, or is refused in one line."""

import gzip
import io
import json
import os
import pickle
import shutil
import warnings
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from PIL import Image

from boxes_files import SPLITS, xml
from fuzzing import CLEAN, WORKED, amounts, damaged, fuzz
from image_files import whole_files
from limbeck.data import load
from limbeck.data.images.decode import decode, inspect_all
from limbeck.data.images.files import find_file
from limbeck.data.images.label_table import read_label_table
from limbeck.data.images.mnist import read_idx
from limbeck.data.images.pickled import read_pickle
from limbeck.data.images.pixels import read_pixels, write_pixels
from limbeck.data.masks.files import read_image, read_mask, resized
from limbeck.errors import RunError, UserError
from limbeck.students.images import ImagePreparation
from limbeck.students.pixels import ImageRecord

IMAGES = whole_files()


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        # Pillow warns of what it makes good, such as a colour table of another length.
        warnings.simplefilter("ignore")
        yield


def both(outcomes):
    """Damage that never, or always, is harmless would test nothing."""
    assert outcomes[WORKED] > 0
    assert outcomes[CLEAN] > 0


def damaged_images():
    return st.sampled_from(sorted(IMAGES)).flatmap(lambda name: st.tuples(st.just(name), damaged(IMAGES[name])))


@amounts(60, 2000)
def test_images(tmp_path, examples, slow_counts):
    """What passes when all is decoded can be decoded later, at the size that was found, and passes the short way."""

    def attempt(value):
        name, data = value
        path = tmp_path / name
        path.write_bytes(data)
        (short,), (found,) = inspect_all([path]), inspect_all([path], decoding=True)
        if isinstance(found, str):
            with suppress(UserError):
                # A wrong checksum is found by inspecting alone.
                decode(path, "rgb")
            raise UserError(found)
        assert not isinstance(short, str)
        for color in ("rgb", "gray"):
            assert tuple(decode(path, color).shape[1:]) == (found.height, found.width)

    both(fuzz(attempt, damaged_images(), examples=examples, count=slow_counts))


@amounts(20, 500)
def test_images_of_predictions(tmp_path, examples, slow_counts):
    record = ImageRecord(mean=(0.5,) * 3, std=(0.5,) * 3, input_shape=(3, 8, 8), reduced=True)
    preparation = ImagePreparation(record)

    def attempt(value):
        name, data = value
        path = tmp_path / name
        path.write_bytes(data)
        skipped = {}
        made = list(preparation.batches([path], 4, skipped))
        assert len(made) + len(skipped) == 1
        if skipped:
            raise UserError(skipped[0])
        assert made[0].inputs.shape == (1, 3, 8, 8)
        assert bool(made[0].inputs.isfinite().all())

    both(fuzz(attempt, damaged_images(), examples=examples, count=slow_counts))


@amounts(20, 500)
def test_masks(tmp_path, examples, slow_counts):
    def attempt(value):
        name, data = value
        path = tmp_path / name
        path.write_bytes(data)
        assert resized(read_image(path, gray=False), (5, 7)).shape == (3, 5, 7)
        assert read_mask(path).dtype == torch.int64

    both(fuzz(attempt, damaged_images(), examples=examples, count=slow_counts))


def zipped(compression):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for split in ("train", "test"):
            for part in ("images", "masks"):
                archive.writestr(f"{split}/{part}/0.png", IMAGES["bits.png"])
    return buffer.getvalue()


@amounts(15, 300)
def test_archives_of_masks(tmp_path, examples, slow_counts):
    path = tmp_path / "set.zip"
    contents = [zipped(compression) for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]

    def attempt(data):
        path.write_bytes(data)
        assert len(load("mask_folder", root=path).train) == 1

    both(fuzz(attempt, damaged(*contents), examples=examples, count=slow_counts))


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 200),
    st.sampled_from([0, -1, 2**31, 10**400, 1e308, float("nan"), float("inf"), -float("inf"), "", "\0", "a" * 5000]),
    st.sampled_from(["../../x.png", "/dev/zero", "/", ".", "b.png", "\ud800", "1", [], {}, [[]], [1, 2, 3, 4]]),
    st.lists(st.floats(), min_size=4, max_size=4),
    st.text(max_size=8),
)


def changed(value, path, put):
    """A copy of nested lists and mappings with another value at a place; None takes it out."""
    if not path or not isinstance(value, dict | list) or not value:
        return put
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[path[0] % len(keys)]
    inner = changed(value[key], path[1:], put)
    if isinstance(value, dict):
        return {**value, key: inner}
    return [*value[:key], inner, *value[key + 1 :]]


PLACES = st.lists(st.tuples(st.lists(st.integers(0, 50), min_size=1, max_size=4), ODD), min_size=1, max_size=3)


@amounts(30, 800)
def test_coco(tmp_path, examples, slow_counts):
    for name, drawn in SPLITS.items():
        drawn.write(tmp_path / name)
    (tmp_path / "test.json").write_text(json.dumps(SPLITS["test"].coco()))
    whole = SPLITS["train"].coco()

    def attempt(value):
        content, skip_bad = value
        if isinstance(content, list):
            mutated = whole
            for path, put in content:
                mutated = changed(mutated, path, put)
            content = json.dumps(mutated).encode(errors="surrogatepass")
        (tmp_path / "train.json").write_bytes(content)
        data = load("coco", root=tmp_path, skip_bad=skip_bad)
        assert all(bool(target["boxes"].isfinite().all()) for target in data.train.targets)
        assert len(data.fingerprint) == 64

    values = st.tuples(st.one_of(PLACES, PLACES, damaged(json.dumps(whole).encode())), st.booleans())
    both(fuzz(attempt, values, examples=examples, count=slow_counts))


@amounts(30, 800)
def test_voc(tmp_path, examples, slow_counts):
    for name, drawn in SPLITS.items():
        drawn.voc(tmp_path, name)
    whole = xml([("dog", 1, 2, 11, 12), ("cat", 0, 0, 30, 20)], difficult=0)
    numbers = st.sampled_from(["nan", "-inf", "1e999", "-5", "9" * 5000, "", "x", "²", "0x10", "1_0", "<a/>", "&b;"])
    places = st.sampled_from(["30", "20", "12", "dog", "</object>", "<xmin>", "<size>", "annotation"])
    texts = st.tuples(places, numbers).map(lambda pair: whole.replace(*pair).encode())

    def attempt(value):
        content, skip_bad = value
        (tmp_path / "Annotations" / "a.xml").write_bytes(content)
        data = load("voc", root=tmp_path, skip_bad=skip_bad)
        assert len(data.train) == 3 - len(data.skipped)
        assert all(bool(target["boxes"].isfinite().all()) for target in data.train.targets)

    values = st.tuples(st.one_of(texts, damaged(whole.encode())), st.booleans())
    both(fuzz(attempt, values, examples=examples, count=slow_counts))


@amounts(20, 500)
def test_lists_of_voc(tmp_path, examples, slow_counts):
    for name, drawn in SPLITS.items():
        drawn.voc(tmp_path, name)

    def attempt(content):
        (tmp_path / "ImageSets" / "Main" / "train.txt").write_bytes(content)
        load("voc", root=tmp_path)

    both(fuzz(attempt, damaged(b"a\nb\nc\n"), examples=examples, count=slow_counts))


@amounts(40, 800)
def test_tables_of_labels(tmp_path, examples, slow_counts):
    columns = "file,cat,dog,split\n0.png,1,0,train\n1.png,0,?,test\n"
    names = 'file,tags\n0.png,cat|dog\n"1.png",cat\n'

    def attempt(content):
        path = tmp_path / "labels.csv"
        path.write_bytes(content)
        table = read_label_table(path)
        assert len(table.files) == len(table.labels) > 0

    contents = damaged(columns.encode(), names.encode(), names.encode("utf-16"))
    both(fuzz(attempt, contents, examples=examples, count=slow_counts))


def pickles():
    values = {"data": np.arange(12, dtype=np.uint8).reshape(2, 6), "labels": [0, np.int64(1)], "names": ["a", b"b"]}
    return [pickle.dumps(values, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]


@amounts(60, 2000)
def test_pickles(tmp_path, examples, slow_counts):
    def attempt(content):
        path = tmp_path / "batch"
        path.write_bytes(content)
        read_pickle(path)

    both(fuzz(attempt, damaged(*pickles()), examples=examples, count=slow_counts))


@amounts(30, 600)
def test_idx_files(tmp_path, examples, slow_counts):
    whole = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, *range(24)])

    def attempt(content):
        path = tmp_path / ("images.gz" if content[:2] == b"\x1f\x8b" else "images")
        path.write_bytes(content)
        assert read_idx(path, 3).ndim == 3

    both(fuzz(attempt, damaged(whole, gzip.compress(whole, mtime=0)), examples=examples, count=slow_counts))


@amounts(15, 300)
def test_stored_pixels(tmp_path, examples, slow_counts):
    write_pixels(tmp_path, [torch.ones(3, 2, 2, dtype=torch.uint8), torch.zeros(1, 3, 1, dtype=torch.uint8)])
    names = ("index.json", "pixels.bin")
    whole = {name: (tmp_path / name).read_bytes() for name in names}
    index = json.loads(whole["index.json"])

    def attempt(value):
        for name, content in whole.items():
            (tmp_path / name).write_bytes(content)
        name, content = value
        (tmp_path / name).write_bytes(content)
        pixels = read_pixels(tmp_path)
        for number in range(len(pixels)):
            assert pixels.image(number).dtype == torch.uint8

    mutated = st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=3), ODD).map(
        lambda pair: ("index.json", json.dumps(changed(index, *pair)).encode(errors="surrogatepass"))
    )
    files = st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), damaged(whole[name])))
    values = st.one_of(st.just(("index.json", whole["index.json"])), files, mutated)
    both(fuzz(attempt, values, examples=examples, count=slow_counts, clean=(UserError, RunError)))


NAMES = st.one_of(
    st.sampled_from(
        ["train", "test", "val", "cat", "dog", ".hidden", "__MACOSX", "-x", "a b", "ü", "line\nbreak", "%s"]
    ),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=20),
    st.binary(min_size=1, max_size=20).map(os.fsdecode).filter(lambda name: not set(name) & set("/\0")),
).filter(lambda name: name not in {".", ".."} and len(os.fsencode(name)) < 200)
ENDINGS = st.sampled_from([".png", ".PNG", ".jpg", ".gif", ".txt", "", ".tif"])
KINDS = st.sampled_from(["png", "png", "png", "jpg", "broken", "empty", "folder", "link", "loop", "pipe"])


def plant(path, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind in ("link", "loop"):
        path.symlink_to(path.parent if kind == "loop" else "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        contents = {"png": IMAGES["rgb.png"], "jpg": IMAGES["rgb.jpg"], "broken": b"no image", "empty": b""}
        path.write_bytes(contents[kind])


@amounts(60, 500)
def test_folders(tmp_path, examples, slow_counts):
    """Folders of any names and depth, with links and pipes: images are found, or one line has the reason."""
    root = tmp_path / "root"

    def attempt(value):
        entries, skip_bad, base = value
        shutil.rmtree(root, ignore_errors=True)
        for name in ("cat", "dog") if base else ():
            for number in range(3):
                plant(root / name / f"{number}.png", "png")
        root.mkdir(exist_ok=True)
        for parts, ending, kind in entries:
            path = root.joinpath(*parts[:-1], parts[-1] + ending)
            try:
                plant(path, kind)
            except OSError:
                continue
        data = load("image_folder", root=root, skip_bad=skip_bad, size=8)
        assert skip_bad or not data.skipped
        assert all("\n" not in line for line in (*data.skipped, *data.notes))
        assert len(data.fingerprint) == 64
        for batch in data.batches(data.test, batch_size=8).epoch(0):
            assert bool(batch.inputs.isfinite().all())

    entries = st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3), ENDINGS, KINDS), max_size=6)
    values = st.tuples(entries, st.booleans(), st.booleans())
    both(fuzz(attempt, values, examples=examples, count=slow_counts))


def test_the_strategies_reach_what_they_are_for(tmp_path):
    assert {Image.open(io.BytesIO(data)).format for data in IMAGES.values()} >= {"PNG", "JPEG", "GIF", "WEBP", "TIFF"}
    with pytest.raises(UserError):
        find_file([tmp_path], ["none"], "")
    assert changed({"a": [1, 2]}, [0, 1], 7) == {"a": [1, 7]}
