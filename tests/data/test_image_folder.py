import shutil

import pytest

from data_layouts import write_classes, write_image
from limbeck.data import load
from limbeck.errors import UserError


def folder(root, **options):
    return load("image_folder", root=root, size=16, **options)


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
    with pytest.raises(UserError, match=r"data.validation: got 0.5, but the data has a validation folder of its own"):
        folder(tmp_path, validation=0.5)


def test_plain_layout_cuts_a_test_split(tmp_path):
    write_classes(tmp_path, each=10)
    data = folder(tmp_path, test_share=0.3, validation=0.25)
    assert data.test.labels.bincount().tolist() == [3, 3]
    assert data.validation.labels.bincount().tolist() == [2, 2]
    assert len({*data.train.paths, *data.test.paths, *data.validation.paths}) == 20
    assert folder(tmp_path, test_share=0.3, seed=0).test.paths == data.test.paths
    assert folder(tmp_path, test_share=0.3, seed=1).test.paths != data.test.paths


def test_default_size(tmp_path):
    write_classes(tmp_path)
    assert load("image_folder", root=tmp_path).shape == (3, 224, 224)


def test_colour(tmp_path):
    write_classes(tmp_path, mode="L")
    data = folder(tmp_path)
    assert (data.shape, data.mean, data.std) == ((1, 16, 16), (0.449,), (0.226,))
    assert folder(tmp_path, color="rgb").shape[0] == 3
    write_image(tmp_path / "cat" / "0.png")
    assert folder(tmp_path).shape[0] == 3
    assert folder(tmp_path, color="grey").shape[0] == 1


def test_fingerprint_changes_with_the_settings(tmp_path):
    write_classes(tmp_path, each=10)
    loads = [
        folder(tmp_path),
        folder(tmp_path, color="grey"),
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
def test_damaged_images_are_found_when_loading(tmp_path, ending, damage):
    write_classes(tmp_path)
    path = write_image(tmp_path / "dog" / f"9.{ending}", 64, 64)
    folder(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=f"data.root: {path} cannot be read as an image") as caught:
        folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_jpeg_with_something_behind_its_end_is_whole(tmp_path):
    write_classes(tmp_path)
    path = write_image(tmp_path / "dog" / "9.jpg", 64, 64)
    path.write_bytes(path.read_bytes() + bytes(10_000))
    assert path in {*folder(tmp_path).train.paths, *folder(tmp_path).test.paths}
