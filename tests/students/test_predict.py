"""``limbeck predict`` on every kind of data: what it prints, what it writes, and what it refuses."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limbeck as library
from limbeck.runs.folder import RunFolder


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def stored(run):
    return RunFolder(run.folder).read_predictions()


def root_of(run):
    return RunFolder(run.folder).read_recipe()["data"]["root"]


def test_a_folder_in_sorted_order(limbeck, photo_run, photos):
    (photos / "test" / "notes.md").write_text("no image")
    code, out, err = limbeck("predict", photo_run.folder, photos / "test")
    assert (code, err) == (0, "limbeck: 1 other files in the folders are no images\n")
    rows = rows_of(out)
    paths = sorted((photos / "test").rglob("*.jpg"))
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    # The test split is in the same order.
    assert [("cat", "dog", "eel").index(row["class"]) for row in rows] == stored(photo_run).tolist()
    probabilities = library.load(photo_run.folder).predict(paths)
    assert [float(row["probability"]) for row in rows] == pytest.approx(probabilities.amax(dim=1).tolist(), abs=1e-6)


def test_top_k_as_csv_and_jsonl(limbeck, photo_run, photos, tmp_path):
    image = photos / "test" / "cat" / "1.jpg"
    expected, order = library.load(photo_run.folder).predict([image])[0].sort(descending=True)
    names = [("cat", "dog", "eel")[place] for place in order.tolist()]
    _, out, _ = limbeck("predict", photo_run.folder / "student.safetensors", image, image, "--top-k", 2)
    rows = rows_of(out)
    assert len(rows) == 2
    assert [rows[0]["class"], rows[0]["class_2"]] == names[:2]
    file = tmp_path / "out.jsonl"
    code, out, _ = limbeck("predict", photo_run.folder, image, "--top-k", 3, "--format", "jsonl", "--out", file)
    assert (code, out) == (0, "")
    row = json.loads(file.read_text())
    assert row["path"] == str(image)
    assert [entry["class"] for entry in row["top"]] == names
    assert [entry["probability"] for entry in row["top"]] == expected.tolist()


def test_images_that_cannot_be_read(limbeck, photo_run, photos, tmp_path):
    for name, content in (("a.jpg", b"no image"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
    whole = (photos / "test" / "cat" / "0.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    code, out, err = limbeck("predict", photo_run.folder, tmp_path)
    assert (code, out) == (2, "")
    assert err == f"limbeck: {tmp_path / 'a.jpg'} cannot be read as an image: is no image\n"
    code, out, err = limbeck("predict", photo_run.folder, tmp_path, "--skip-bad")
    assert (code, out) == (2, "")
    assert "got nothing that can be predicted" in err
    (tmp_path / "whole.jpg").write_bytes(whole)
    code, out, err = limbeck("predict", photo_run.folder, tmp_path, "--skip-bad")
    assert code == 0
    assert [row["path"] for row in rows_of(out)] == [str(tmp_path / "whole.jpg")]
    assert err.startswith("limbeck: skipped 3 of 4:\n")
    assert all(name in err for name in ("a.jpg", "empty.png", "cut.jpg"))


def test_texts_and_rows_of_a_table(limbeck, text_run, table_run, tmp_path):
    for run in (text_run, table_run):
        classes = library.load(run.folder).classes
        code, out, err = limbeck("predict", run.folder, f"{root_of(run)}/test.csv")
        assert (code, err) == (0, "")
        rows = rows_of(out)
        assert [row["row"] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
        assert [classes.index(row["class"]) for row in rows] == stored(run).tolist()
    lines = tmp_path / "lines.txt"
    lines.write_text("card please\nrate please number 3\n")
    code, out, _ = limbeck("predict", text_run.folder, lines, "--format", "jsonl")
    assert [json.loads(line)["row"] for line in out.splitlines()] == [1, 2]


def test_several_classes(limbeck, label_run):
    student = library.load(label_run.folder)
    paths = sorted(Path(root_of(label_run)).glob("*.png"))[:4]
    code, out, _ = limbeck("predict", label_run.folder, *paths, "--format", "jsonl")
    assert code == 0
    for line, values in zip(out.splitlines(), student.predict(paths).tolist(), strict=True):
        row = json.loads(line)
        assert row["probabilities"] == dict(zip(("cat", "dog"), values, strict=True))
        assert row["classes"] == [name for name, value in zip(("cat", "dog"), values, strict=True) if value > 0.5]
    assert limbeck("predict", label_run.folder, *paths)[1].startswith("path,classes,probabilities\n")


def test_masks_of_the_images_own_size(limbeck, mask_run, tmp_path):
    images = Path(root_of(mask_run)) / "test" / "images"
    code, out, err = limbeck("predict", mask_run.folder, images, "--out", tmp_path / "masks")
    assert (code, err) == (0, "")
    assert [row["mask"] for row in rows_of(out)] == [str(tmp_path / "masks" / f"{i}.png") for i in range(3)]
    maps = library.load(mask_run.folder).predict(sorted(images.iterdir()))
    for place, path in enumerate(sorted(images.iterdir())):
        with Image.open(path) as image, Image.open(tmp_path / "masks" / path.name) as mask:
            assert mask.size == image.size
            down, across = (
                np.floor((np.arange(side) + 0.5) * of / side).astype(int)
                for side, of in ((image.height, 24), (image.width, 32))
            )
            assert np.array_equal(np.array(mask), maps.classes[place].numpy()[down][:, across])
    code, _, err = limbeck("predict", mask_run.folder, images, "--out", tmp_path / "masks")
    assert code == 2
    assert "is there already, expected a new or empty folder" in err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "z.png").write_text("no image")
    assert limbeck("predict", mask_run.folder, images, tmp_path / "bad", "--out", tmp_path / "new")[0] == 2
    assert {entry.name for entry in tmp_path.iterdir()} == {"masks", "bad"}
    code, _, err = limbeck("predict", mask_run.folder, images)
    assert (code, "expected a new folder for the masks" in err) == (2, True)


def test_boxes(limbeck, box_run, tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    code, out, err = limbeck("predict", box_run.folder, tmp_path / "a.png")
    assert code == 0, err
    row = json.loads(out)
    found = library.load(box_run.folder).predict([tmp_path / "a.png"])[0]
    assert [entry["box"] for entry in row["boxes"]] == found.boxes.tolist()
    code, _, err = limbeck("predict", box_run.folder, tmp_path / "a.png", "--format", "csv")
    assert (code, "expected jsonl" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/nowhere.jpg"], "/nowhere.jpg: does not exist, expected an image or a folder of images"),
        (["EMPTY"], "holds no images, expected files such as .jpg or .png"),
        (["IMAGE", "--top-k", "4"], "top_k: got 4, expected 1 to the 3 classes"),
        (["IMAGE", "--out", "EMPTY"], "is a folder, expected a file to write"),
        (["IMAGE", "--out", "/nowhere/a.csv"], "the folder /nowhere does not exist"),
        (["IMAGE", "--out", "IMAGE"], "is one of the files that are read"),
        (["IMAGE", "--format", "xml"], "'xml' is not one of 'csv', 'jsonl'"),
        (["IMAGE", "--task", "multilabel"], "task: got 'multilabel', but the student was trained for"),
    ],
)
def test_what_is_refused(limbeck, photo_run, photos, tmp_path, words, expected):
    (tmp_path / "empty").mkdir()
    places = {"IMAGE": photos / "test" / "cat" / "1.jpg", "EMPTY": tmp_path / "empty"}
    code, out, err = limbeck("predict", photo_run.folder, *(places.get(word, word) for word in words))
    assert (code, out) == (2, "")
    assert expected in err
    assert err.count("\n") == 1


def test_files_of_rows_that_do_not_fit(limbeck, text_run, table_run, tmp_path):
    (tmp_path / "a.csv").write_text("words,size\nhello,1\n")
    for run, expected in ((text_run, "has no column 'text'"), (table_run, "has no column 'color'")):
        code, out, err = limbeck("predict", run.folder, tmp_path / "a.csv")
        assert (code, out) == (2, "")
        assert expected in err
    code, _, err = limbeck("predict", text_run.folder, tmp_path / "a.csv", tmp_path / "a.csv")
    assert (code, "expected one file of texts" in err) == (2, True)
    code, _, err = limbeck("predict", text_run.folder, tmp_path)
    assert (code, "is no file, expected one of texts" in err) == (2, True)
