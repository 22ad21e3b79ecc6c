import re
import shutil

import pytest
from PIL import Image

from data_layouts import write_classes, write_image
from limbeck.data import load
from limbeck.errors import UserError


def folder(root, **options):
    return load("image_folder", root=root, size=16, **options)


def paths_of(data):
    return {*data.train.paths, *data.test.paths}


@pytest.mark.parametrize("beside", ["test", "val"])
def test_divided_layout(tmp_path, beside):
    write_classes(tmp_path / "train", each=4)
    write_classes(tmp_path / beside, each=2)
    data = folder(tmp_path)
    assert (data.classes, len(data.train), len(data.test), data.validation) == (("cat", "dog"), 8, 4, None)
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4
    assert all(path.parent.parent.name == beside for path in data.test.paths)
    assert (data.shape, data.mean) == ((3, 16, 16), (0.485, 0.456, 0.406))


def test_val_beside_test_is_the_validation_split(tmp_path):
    for name in ("train", "test", "val"):
        write_classes(tmp_path / name, each=2)
    data = folder(tmp_path)
    assert [s.paths[0].parent.parent.name for s in (data.train, data.validation, data.test)] == ["train", "val", "test"]
    with pytest.raises(UserError, match=r"data.validation: got 0.5, but the data has a validation split of its own"):
        folder(tmp_path, validation=0.5)


def test_plain_layout_cuts_a_test_split(tmp_path):
    write_classes(tmp_path, each=10)
    data = folder(tmp_path, test_share=0.3, validation=0.25)
    assert data.test.labels.bincount().tolist() == [3, 3]
    assert data.validation.labels.bincount().tolist() == [2, 2]
    assert len({*data.train.paths, *data.test.paths, *data.validation.paths}) == 20
    assert folder(tmp_path, test_share=0.3, seed=0).test.paths == data.test.paths
    assert folder(tmp_path, test_share=0.3, seed=1).test.paths != data.test.paths


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ([(32, 32)] * 3, 32),
        ([(224, 300)] * 3, 224),
        ([(500, 300)] * 3, 224),
        ([(20, 30), (40, 41), (90, 60)], 40),
        ([(20, 30), (30, 90), (40, 41), (300, 400)], 30),
    ],
)
def test_the_files_decide_the_size(tmp_path, sides, size):
    for i, (height, width) in enumerate(sides):
        for name in ("cat", "dog"):
            write_image(tmp_path / "train" / name / f"{i}.png", height, width)
            write_image(tmp_path / "test" / name / f"{i}.png", 50, 50)
    data = load("image_folder", root=tmp_path)
    assert data.shape == (3, size, size)
    assert f"{size}x{size} rgb" in data.description[0]
    assert load("image_folder", root=tmp_path, size=50).shape == (3, 50, 50)


def test_description(tmp_path):
    for name, each in (("Train", 4), ("Test", 2), ("valid", 3)):
        write_classes(tmp_path / name, each=each)
    assert load("image_folder", root=tmp_path).description == (
        "data: image_folder, 2 classes (cat, dog), 8 training, 6 validation and 4 test images, 21x21 rgb",
        "splits: training from Train, test from Test, validation from valid",
        "files: 30x20 to 27x23 pixels, median of the shorter sides 21",
    )


def test_files_of_one_size_are_described_as_such(tmp_path):
    for name in ("cat", "dog"):
        for i in range(3):
            write_image(tmp_path / name / f"{i}.png", 32, 40)
    assert load("image_folder", root=tmp_path).description[1:] == ("files: all 40x32 pixels",)


def test_long_class_names_are_shortened(tmp_path):
    write_classes(tmp_path, classes=("x" * 200, *"abcd"))
    assert "5 classes (a, b, c, ...)" in folder(tmp_path).description[0]
    write_classes(tmp_path / "other", classes=("x" * 200, "y" * 200))
    assert len(folder(tmp_path / "other").description[0]) < 200


def test_skipped_files_are_counted_by_reason(tmp_path):
    write_classes(tmp_path)
    write_image(tmp_path / "cat" / ".ipynb_checkpoints" / "0.png")
    write_image(tmp_path / "top.png")
    for name in ("._0.png", "photo.xyz", "photo2.xyz", "README", "empty.jpg"):
        (tmp_path / "cat" / name).write_bytes(b"" if name == "empty.jpg" else b"some")
    (tmp_path / "dog" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "dog" / "linked").symlink_to(tmp_path / "cat", target_is_directory=True)
    data = folder(tmp_path, skip_bad=True)
    assert len(paths_of(data)) == 10
    assert data.description[-1] == (
        "skipped 9 files: 1 empty (cat/empty.jpg), 1 no regular file (dog/gone.png), 2 .xyz (no image), 2 hidden,"
        " 1 linked folder (not followed), 1 outside of the class folders, 1 without an extension (no image)"
    )


@pytest.mark.parametrize("name", ["0.jfif", "0.JPE", "0.gif", "0.pbm"])
def test_further_formats_are_read(tmp_path, name):
    write_classes(tmp_path)
    formats = {".jfif": "JPEG", ".jpe": "JPEG"}
    path = tmp_path / "cat" / name
    Image.new("RGB", (9, 9), "red").convert("1" if name.endswith("pbm") else "RGB").save(
        path, format=formats.get(path.suffix.lower())
    )
    assert path in paths_of(folder(tmp_path))


@pytest.mark.parametrize("ending", [".avif", ".heic"])
def test_formats_of_plugins_are_read_where_pillow_can_and_counted_where_it_cannot(tmp_path, ending, monkeypatch):
    write_classes(tmp_path)
    path = tmp_path / "cat" / f"0{ending}"
    Image.new("RGB", (9, 9)).save(path, format="PNG")
    Image.init()
    monkeypatch.setitem(Image.EXTENSION, ending, "PNG")
    assert path in paths_of(folder(tmp_path))
    monkeypatch.delitem(Image.EXTENSION, ending)
    assert folder(tmp_path).description[-1] == (
        f"skipped 1 file: 1 {ending} (this Pillow cannot read them; convert them to JPEG or PNG)"
    )


def test_class_names_that_are_not_utf8_are_refused(tmp_path):
    write_classes(tmp_path)
    write_image(tmp_path / "f\udcff" / "0.png")
    with pytest.raises(UserError, match=r"has the class folder 'f\\udcff', expected a name in UTF-8"):
        folder(tmp_path)


def test_file_names_that_are_not_utf8_are_read(tmp_path):
    write_classes(tmp_path)
    path = write_image(tmp_path / "cat" / "f\udcff.png")
    (tmp_path / "cat" / "g\udcff.png").write_bytes(b"no image")
    data = folder(tmp_path, skip_bad=True)
    assert path in paths_of(data)
    assert data.description[-1] == r"skipped 1 file: 1 unreadable (cat/g\udcff.png: is no image)"


def test_color(tmp_path):
    write_classes(tmp_path, mode="L")
    data = folder(tmp_path)
    assert (data.shape, data.mean, data.std) == ((1, 16, 16), (0.449,), (0.226,))
    assert folder(tmp_path, color="rgb").shape[0] == 3
    write_image(tmp_path / "cat" / "0.png")
    assert folder(tmp_path).shape[0] == 3
    assert folder(tmp_path, color="gray").shape[0] == 1


def test_fingerprint_changes_with_the_settings(tmp_path):
    write_classes(tmp_path, each=10)
    loads = [
        folder(tmp_path),
        folder(tmp_path, color="gray"),
        folder(tmp_path, seed=1),
        folder(tmp_path, train_limit=9),
    ]
    assert len({data.fingerprint for data in [*loads, load("image_folder", root=tmp_path, size=17)]}) == 5
    assert folder(tmp_path).fingerprint == loads[0].fingerprint


def test_other_files_hidden_folders_and_deeper_images(tmp_path):
    write_classes(tmp_path, each=3)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    write_image(tmp_path / "cat" / "deeper" / "IMAGE.JPG")
    data = folder(tmp_path, test_share=0.4)
    assert data.classes == ("cat", "dog")
    assert len(data.train) + len(data.test) == 7


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match=r"data.root: the folder .*nowhere does not exist"):
        folder(tmp_path / "nowhere")


def test_no_class_folders(tmp_path):
    write_image(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"has 0 class folders, expected at least 2"):
        folder(tmp_path)


def test_empty_class(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "fox").mkdir()
    with pytest.raises(UserError, match=f"the class folder {tmp_path / 'fox'} holds no images"):
        folder(tmp_path)


def test_train_without_test(tmp_path):
    write_classes(tmp_path / "train")
    with pytest.raises(UserError, match=r"has a folder train, expected a folder test or val beside it"):
        folder(tmp_path)


@pytest.mark.parametrize(("extra", "where"), [("train", "only in train"), ("test", "only in test")])
def test_classes_that_differ(tmp_path, extra, where):
    for name in ("train", "test"):
        write_classes(tmp_path / name)
    shutil.copytree(tmp_path / extra / "cat", tmp_path / extra / "fox")
    with pytest.raises(UserError, match=f"the class 'fox' is {where}, expected the same classes"):
        folder(tmp_path)


@pytest.mark.parametrize("share", [0.0, 1.0, 0.01])
def test_test_share_out_of_range(tmp_path, share):
    write_classes(tmp_path)
    with pytest.raises(UserError, match=f"data.test_share: got a share of {share}"):
        folder(tmp_path, test_share=share)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif", "webp", "ppm"])
@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) * 2 // 3], lambda content: b"", lambda _: b"x" * 99]
)
def test_damaged_images_are_named_when_loading_and_skipped_where_they_may_be(tmp_path, ending, damage):
    write_classes(tmp_path)
    path = write_image(tmp_path / "dog" / f"9.{ending}", 64, 64)
    assert paths_of(folder(tmp_path)) > {path}
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"^data.root: {path}\b.*; data.skip_bad: true leaves such files out$"):
        folder(tmp_path)
    data = folder(tmp_path, skip_bad=True)
    assert len(paths_of(data)) == 10
    assert path not in paths_of(data)
    reason = "unreadable" if path.stat().st_size else "empty"
    assert re.search(f"^skipped 1 file: 1 {reason} \\(dog/9.{ending}[^\n]*\\)$", data.description[-1])


def test_only_the_first_damaged_images_are_named(tmp_path):
    write_classes(tmp_path)
    for i in range(9):
        (tmp_path / "cat" / f"broken{i}.png").write_bytes(b"no image")
    last = folder(tmp_path, skip_bad=True).description[-1]
    assert (
        last == f"skipped 9 files: 9 unreadable ({'; '.join(f'cat/broken{i}.png: is no image' for i in range(3))}; ...)"
    )


def test_a_class_of_damaged_images_alone_is_refused(tmp_path):
    write_classes(tmp_path)
    for path in (tmp_path / "cat").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(
        UserError, match=rf"the class folder {tmp_path / 'cat'} holds no images that can be read \(skip"
    ):
        folder(tmp_path)


def test_a_jpeg_with_something_behind_its_end_is_whole(tmp_path):
    write_classes(tmp_path)
    path = write_image(tmp_path / "dog" / "9.jpg", 64, 64)
    path.write_bytes(path.read_bytes() + bytes(10_000))
    assert path in paths_of(folder(tmp_path))
