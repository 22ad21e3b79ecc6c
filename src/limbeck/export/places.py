"""Where exported files go: checked before anything is computed, and moved there when all of it is done."""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from limbeck.errors import UserError, shortened
from limbeck.files import replacing


def check_places(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse files that cannot be written, or are there already.

    Args:
        paths: The files.
        overwrite: Whether they may be replaced.

    Raises:
        UserError: If a folder is missing or cannot be written, or a file is there.

    Example:
        >>> check_places([Path("nowhere/student.onnx")], overwrite=False)
        Traceback (most recent call last):
        limbeck.errors.UserError: nowhere/student.onnx: the folder nowhere does not exist, expected one that does
    """
    for path in paths:
        shown = shortened(str(path), 200, quoted=False)
        if not path.parent.is_dir():
            raise UserError(f"{shown}: the folder {path.parent} does not exist, expected one that does")
        if path.is_dir():
            raise UserError(f"{shown}: is a folder, expected the name of a file")
        if path.exists() and not overwrite:
            raise UserError(f"{shown}: exists already, expected another --out, or --overwrite to replace it")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise UserError(f"{shown}: cannot be written (no permission for {path.parent}), expected another --out")


def move_all(files: Mapping[Path, Path]) -> None:
    """Move files to their places, each in one step; where one fails, those that were moved before are removed again.

    Args:
        files: By place what is moved there.

    Raises:
        RunError: If a file cannot be written.
    """
    done: list[Path] = []
    try:
        for place, source in files.items():
            with replacing(place) as partial:
                shutil.copyfile(source, partial)
            done.append(place)
    except BaseException:
        for place in done:
            with suppress(OSError):
                place.unlink(missing_ok=True)
        raise
