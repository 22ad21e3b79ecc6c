"""Which folders below a folder of images are splits, whatever their spelling, and which are classes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from limbeck.data.images.folder_files import holds_images, subfolders
from limbeck.errors import UserError

Role = Literal["train", "test", "validation", "unlabeled"]
_ROLES: dict[str, Role] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "pred": "unlabeled",
    "prediction": "unlabeled",
    "unlabeled": "unlabeled",
    "unlabelled": "unlabeled",
}
_FILLERS = {"", "set", "seg", "data", "dataset", "image", "images", "img", "imgs", "split"}


@dataclass(frozen=True)
class Layout:
    """The folders of the splits of a divided data set; class folders lie in each of them.

    Attributes:
        train: The training split's folder.
        test: The test split's folder; the validation folder where there is no other.
        validation: The validation split's folder, if there is one beside the test folder.
        unlabeled: Folders of images without labels, which are not read.

    Example:
        >>> Layout(Path("train"), Path("val")).validation is None
        True
    """

    train: Path
    test: Path
    validation: Path | None = None
    unlabeled: tuple[Path, ...] = ()


def role_of(name: str) -> Role | None:
    """Return the split that a folder's name stands for, or None.

    Case, digits, separators and fillers such as ``set``, ``seg`` or ``images`` do not count.

    Example:
        >>> [role_of(name) for name in ("Train", "seg_test", "ValidationSet", "train-2017", "cats")]
        ['train', 'test', 'validation', 'train', None]
    """
    words = {word.removesuffix("set") for word in re.split(r"[\W_\d]+", name.lower())} - _FILLERS
    return _ROLES.get(words.pop()) if len(words) == 1 else None


def find_layout(root: Path) -> Layout | None:
    """Find the splits below a folder.

    A folder of a split holds a folder for each class, directly or in one more folder of the same split
    (``seg_train/seg_train/CLASS``). A single folder ``train`` that holds images alone, beside other class folders, is a
    class.

    Args:
        root: The folder.

    Returns:
        The splits, or None if the folders below ``root`` are the classes.

    Raises:
        UserError: If two folders stand for one split, splits and classes lie side by side, or a split is missing.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("Training/cat", "Testing/cat", "valid/cat"):
        ...     (root / name).mkdir(parents=True)
        >>> layout = find_layout(root)
        >>> layout.train.name, layout.test.name, layout.validation.name
        ('Training', 'Testing', 'valid')
    """
    folders = subfolders(root)
    roles = {folder: role for folder in folders if (role := role_of(folder.name))}
    if not any(role != "unlabeled" and subfolders(folder) for folder, role in roles.items()):
        _check_classes(root, folders, roles)
        return None
    others = [folder for folder in folders if folder not in roles and holds_images(folder)]
    if others:
        got = f"the split {_names(roles)} beside {_names(others)}"
        raise UserError(f"data.root: {root} holds {got}, expected folders of splits alone or of classes alone")
    return _layout(root, roles)


def _check_classes(root: Path, folders: list[Path], roles: dict[Path, Role]) -> None:
    named = {folder: role for folder, role in roles.items() if role != "unlabeled"}
    may_be_class = list(named.values()) == ["train"] and len(folders) > 1
    if named and not may_be_class:
        expected = "expected train/CLASS and test/CLASS, or classes with other names than a split's"
        raise UserError(f"data.root: {root} holds {_names(named)} without class folders in them, {expected}")


def _layout(root: Path, roles: dict[Path, Role]) -> Layout:
    train, test, validation = (_only(root, roles, role) for role in ("train", "test", "validation"))
    unlabeled = tuple(folder for folder, role in roles.items() if role == "unlabeled")
    if train is None:
        raise UserError(f"data.root: {root} holds {_names(roles)}, expected a folder train beside it")
    if test is None and validation is None:
        raise UserError(
            f"data.root: {root} has a folder {train.name}, expected a folder test or val beside it, or class folders"
            f" in {root} itself"
        )
    if test is None:
        test, validation = validation, None
    assert test is not None
    return Layout(_inner(train), _inner(test), validation and _inner(validation), unlabeled)


def _only(root: Path, roles: dict[Path, Role], role: Role) -> Path | None:
    folders = [folder for folder in roles if roles[folder] == role]
    if len(folders) > 1:
        raise UserError(f"data.root: {root} holds {_names(folders)}, expected one folder for the {role} split")
    return folders[0] if folders else None


def _inner(folder: Path) -> Path:
    inside = subfolders(folder)
    return inside[0] if len(inside) == 1 and role_of(inside[0].name) == role_of(folder.name) else folder


def _names(folders: Iterable[Path]) -> str:
    names = [folder.name for folder in folders]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
