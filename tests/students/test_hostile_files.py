"""Hostile files of predictions: one line each, and with ``skip_bad`` all others are predicted."""

import os

import pytest

import limbeck
from fuzzing import CLEAN, outcome
from image_files import colors, content, png, turned, whole_files
from limbeck import predict
from limbeck.errors import UserError


@pytest.fixture(scope="module")
def student(photo_run):
    return limbeck.load(photo_run.folder)


def write_hostile(folder):
    contents = {
        "text.jpg": b"a text",
        "empty.png": b"",
        "bomb.png": png(50_000, 50_000, 8, 2, bytes(1000)),
        "cut.jpg": whole_files()["rgb.jpg"][:100],
        "line\nbreak.png": b"no image",
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in contents]


def test_hostile_files_are_one_line_each_or_left_out(student, tmp_path):
    bad = write_hostile(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "whole.png").write_bytes(whole_files()["rgb.png"])
    for path in (*bad, tmp_path / "pipe.png", tmp_path / "loop.png", tmp_path / ("a" * 300 + ".png")):
        assert outcome(lambda path=path: predict(student, path)) == CLEAN
    # A pipe and a loop are no files of a folder.
    found = predict(student, tmp_path, skip_bad=True)
    assert [row["path"] for row in found.rows] == [str(tmp_path / "whole.png")]
    assert sorted(found.skipped) == sorted(map(str, bad))


def test_odd_images_are_predicted_as_they_look(student, tmp_path):
    (tmp_path / "b.png").write_bytes(content(colors((24, 32)), "PNG", exif=turned(None, 6)))
    upright = colors((24, 32)).rotate(-90, expand=True)
    (tmp_path / "a.png").write_bytes(content(upright, "PNG"))
    one, other = predict(student, [tmp_path / "a.png", tmp_path / "b.png"]).rows
    assert {**one, "path": ""} == {**other, "path": ""}


def test_a_run_that_is_no_folder_of_one_is_one_line(tmp_path):
    with pytest.raises(UserError):
        predict(tmp_path, tmp_path)
