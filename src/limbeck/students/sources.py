"""Which samples the paths of a prediction name: image files, or the rows of a file."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from limbeck.data.images.folder_files import EXTENSIONS, is_hidden
from limbeck.errors import UserError, shortened
from limbeck.files import expanded, is_file, is_folder
from limbeck.students.made import Preparation
from limbeck.students.texts import TextPreparation


class Found(NamedTuple):
    """The samples that paths name.

    Attributes:
        samples: What :meth:`limbeck.students.Student.batches` takes.
        names: The name of each: an image's path, or a row's number from 1.
        column: What the names are, ``"path"`` or ``"row"``.
        others: How many files of the folders are no images.

    Example:
        >>> Found(["a.png"], ["a.png"], "path").others
        0
    """

    samples: Any
    names: Sequence[str | int]
    column: str
    others: int = 0


def find_samples(preparation: Preparation, paths: Sequence[str | Path]) -> Found:
    """Find the samples that paths name.

    Args:
        preparation: The student's; it decides whether these are images or rows.
        paths: Image files and folders of them, which are searched in sorted order; or one file of texts or rows.

    Raises:
        UserError: If a path does not exist, a folder holds no images, or there is more than one file of rows.

    Example:
        >>> from limbeck.data.boxes.reading import Form
        >>> from limbeck.students.boxes import BoxPreparation
        >>> find_samples(BoxPreparation(Form()), ["/nowhere"])
        Traceback (most recent call last):
        limbeck.errors.UserError: /nowhere: does not exist, expected an image or a folder of images
    """
    given = [expanded(path) for path in paths]
    if not given:
        raise UserError(f"paths: got none, expected {preparation.unit}")
    if preparation.unit == "images":
        return _images(given)
    if len(given) > 1:
        raise UserError(f"paths: got {len(given)}, expected one file of {preparation.unit}")
    if not is_file(given[0]):
        raise UserError(f"{_shown(given[0])}: is no file, expected one of {preparation.unit}")
    samples = _rows(preparation, given[0])
    return Found(samples, range(1, len(samples) + 1), "row")


def _images(paths: Sequence[Path]) -> Found:
    images: list[Path] = []
    others = 0
    for path in paths:
        if is_folder(path):
            found, rest = _images_in(path)
            images += found
            others += rest
        elif _exists(path):
            images.append(path)
        else:
            raise UserError(f"{_shown(path)}: does not exist, expected an image or a folder of images")
    return Found(images, [str(path) for path in images], "path", others)


def _exists(path: Path) -> bool:
    # A name may be too long, or hold what no name can.
    with suppress(OSError):
        return path.exists()
    return False


def _images_in(folder: Path) -> tuple[list[Path], int]:
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and _is_visible(path, folder))
    except OSError as error:
        raise UserError(f"{_shown(folder)}: cannot be listed ({error.strerror})") from None
    images = [path for path in files if path.suffix.lower() in EXTENSIONS]
    if not images:
        raise UserError(f"{_shown(folder)}: holds no images, expected files such as .jpg or .png")
    return images, len(files) - len(images)


def _is_visible(path: Path, folder: Path) -> bool:
    return not any(is_hidden(part) for part in path.relative_to(folder).parts)


def _rows(preparation: Preparation, path: Path) -> Sequence[Any]:
    if not isinstance(preparation, TextPreparation) or path.suffix.lower() != ".txt":
        # Read here, so that a mistake in the file comes before any prediction.
        samples: Sequence[Any] = preparation.samples(path)
        return samples
    if preparation.record.pair is not None:
        raise UserError(f"{_shown(path)}: has one text a line, expected pairs in a CSV or JSONL file")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{_shown(path)}: cannot be read ({error})") from None
    return lines[:-1] if lines[-1] == "" else lines


def _shown(path: Path) -> str:
    return shortened(str(path), 200, quoted=False)
