import pytest

from data_layouts import write_classes, write_image
from limbeck.data import load
from limbeck.data.images.folder_layout import role_of
from limbeck.errors import UserError


def folder(root):
    return load("image_folder", root=root, size=8)


@pytest.mark.parametrize(
    ("role", "names"),
    [
        (
            "train",
            ["train", "Train", "TRAINING", "train_set", "training-set", "seg_train", "Train Images", "train2017"],
        ),
        ("test", ["test", "Testing", "TestSet", "seg_test", "test_images", "test-data"]),
        ("validation", ["val", "Valid", "VALIDATION", "dev", "val_set", "ValidationSet"]),
        ("unlabeled", ["seg_pred", "unlabeled", "unlabeled"]),
        (None, ["cat", "trainer", "testimony", "valley", "train station", "test_cat", "set", "images", "1", "devil"]),
    ],
)
def test_roles(role, names):
    assert {name: role_of(name) for name in names} == dict.fromkeys(names, role)


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "testing"), ("seg_train", "seg_test")])
def test_spellings(tmp_path, names):
    for name, each in zip(names, (4, 2), strict=True):
        write_classes(tmp_path / name, each=each)
    data = folder(tmp_path)
    assert (data.classes, len(data.train), len(data.test), data.validation) == (("cat", "dog"), 8, 4, None)


@pytest.mark.parametrize("name", ["valid", "Validation", "dev", "VAL"])
def test_validation_folder(tmp_path, name):
    write_classes(tmp_path / "Train", each=4)
    write_classes(tmp_path / name, each=1)
    assert folder(tmp_path).validation is None
    write_classes(tmp_path / "Test", each=2)
    data = folder(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 2, 4)


def test_a_split_in_a_folder_of_its_own_name_and_images_without_labels(tmp_path):
    write_classes(tmp_path / "seg_train" / "seg_train", each=4)
    write_classes(tmp_path / "seg_test" / "seg_test", each=2)
    write_image(tmp_path / "seg_pred" / "seg_pred" / "1.png")
    data = folder(tmp_path)
    assert (data.classes, len(data.train), len(data.test)) == (("cat", "dog"), 8, 4)
    assert data.description[1] == "splits: training from seg_train/seg_train, test from seg_test/seg_test"
    assert data.description[-1] == "skipped 1 file: 1 in seg_pred (a folder without labels)"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "Training", "test"), "holds Training, train, expected one folder for the train split"),
        (("train", "val", "valid"), "holds val, valid, expected one folder for the validation split"),
        (("Train", "Test", "fox"), "holds the split Test, Train beside fox, expected folders of splits alone"),
        (("train", "pets"), "holds the split train beside pets"),
        (("Test", "val"), "holds Test, val, expected a folder train beside it"),
        (("test",), "holds test, expected a folder train beside it"),
        (("Train",), "has a folder Train, expected a folder test or val beside it"),
    ],
)
def test_unclear_splits_are_refused(tmp_path, names, message):
    for name in names:
        write_classes(tmp_path / name, each=2)
    with pytest.raises(UserError, match=message):
        folder(tmp_path)


@pytest.mark.parametrize("names", [("Train", "Test"), ("train", "test", "cat"), ("cat", "dog", "test")])
def test_splits_without_classes_are_refused(tmp_path, names):
    write_classes(tmp_path, classes=names)
    with pytest.raises(UserError, match=r"holds .*[Tt]est.* without class folders in them, expected train/CLASS"):
        folder(tmp_path)


def test_a_train_is_a_class_among_vehicles(tmp_path):
    write_classes(tmp_path, classes=("train", "bus", "car"))
    assert folder(tmp_path).classes == ("bus", "car", "train")


def test_other_files_and_folders_without_images_beside_the_splits_do_not_matter(tmp_path):
    for name in ("train", "test"):
        write_classes(tmp_path / name)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "README.md").write_text("about")
    (tmp_path / "labels.csv").write_text("a,b")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("main")
    data = folder(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.description[-1] == "skipped 2 files: 2 outside of the class folders"


def test_a_folder_around_the_folder_gets_a_suggestion(tmp_path):
    for name in ("train", "test"):
        write_classes(tmp_path / "pets" / name)
    with pytest.raises(UserError, match=f"has 1 class folders, .*; did you mean {tmp_path / 'pets'}\\?"):
        folder(tmp_path)
