"""Which files of a folder hold which split."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from limbeck.data.images.folder_layout import role_of
from limbeck.data.text.saved_dataset import FILES, read_saved
from limbeck.data.text.table import Table, read_table
from limbeck.errors import UserError, shortened


class Tables(NamedTuple):
    """The rows of each split; ``test`` is None where the files have none of their own.

    Example:
        >>> Tables(Table("a.csv", {}, ())).test is None
        True
    """

    train: Table
    test: Table | None = None
    validation: Table | None = None


def read_tables(root: Path) -> Tables:
    """Read a file, a folder with a file for each split, or what ``datasets`` wrote by ``save_to_disk``.

    A file's split is found in its name: ``train.csv``, ``stsa.binary.dev``, ``test_set.jsonl``. Other files of a folder
    are left alone. A validation split serves as the test split where there is no other.

    Args:
        root: The file or folder.

    Raises:
        UserError: If there is none, a split has several files or no training split is found.

    Example:
        >>> read_tables(Path("/nowhere"))
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: /nowhere does not exist, expected a file of texts or a folder of them
    """
    name = shortened(str(root), 200, quoted=False)
    if root.is_file():
        return Tables(read_table(root))
    if not root.is_dir():
        raise UserError(f"data.root: {name} does not exist, expected a file of texts or a folder of them")
    if any((root / file).is_file() for file in FILES):
        saved = read_saved(root)
        found = {role: saved[split] for role, split in _by_role(saved).items()}
    else:
        files = {path.name: path for path in sorted(root.iterdir()) if path.is_file() and path.name[0] != "."}
        found = {role: read_table(files[file]) for role, file in _by_role(files).items()}
    if "train" not in found:
        got = f"only {', '.join(found)}" if found else "no file whose name holds train or test"
        raise UserError(f"data.root: {name} has {got}, expected a training split such as train.csv")
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    return Tables(**found)


def _by_role(names: Iterable[str]) -> dict[str, str]:
    splits: dict[str, str] = {}
    for name in names:
        role = split_of(name)
        if role in splits:
            expected = "expected one for each split"
            raise UserError(f"data.root: {splits[role]} and {name} are both named as {role}, {expected}")
        if role is not None:
            splits[role] = name
    return splits


def split_of(name: str) -> str | None:
    """Return the split that a file's name holds: ``train``, ``test`` or ``validation``; None without exactly one.

    Example:
        >>> split_of("train.csv"), split_of("stsa.binary.dev"), split_of("categories.json"), split_of("train-test.csv")
        ('train', 'validation', None, None)
    """
    roles = {role_of(part) for part in re.split(r"[._\- ]+", name)} - {None, "unlabeled"}
    return roles.pop() if len(roles) == 1 else None
