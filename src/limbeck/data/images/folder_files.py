"""The image files of a folder, and how many others were skipped, by reason."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn

from PIL import Image

from limbeck.errors import UserError, shortened
from limbeck.files import is_file

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif"),
    *(".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_PLUGIN_EXTENSIONS = (".avif", ".heic", ".heif", ".hif")
_NAMED, _LONGEST, _WHOLE = 3, 120, 1000
UNREADABLE, UNUSABLE = "unreadable", "unusable"
"""The reasons of samples whose image cannot be decoded, and of those with something else wrong."""
SKIP_HINT = "data.skip_bad: true leaves such files out"
"""The end of the error's line about a file that cannot be read."""


class Bad(NamedTuple):
    """A sample that cannot be read.

    Attributes:
        path: Its file's path below the data's folder.
        detail: What is wrong with it; empty where the reason that it is counted under has all.

    Example:
        >>> Bad("cat/1.jpg", "is no image").detail
        'is no image'
    """

    path: str
    detail: str = ""


@dataclass(frozen=True)
class Skipped:
    """Files that are not part of a data set, by reason.

    Args:
        root: The data's folder.
        skip_bad: Whether samples that cannot be read are left out, instead of being an error.
        bad: Samples that cannot be read, which are named to their owner, by reason.
        counts: How many other files there are, by reason.

    Example:
        >>> skipped = Skipped(Path("pets"))
        >>> skipped.count("hidden")
        >>> skipped.name("unreadable", Path("pets/cat/1.jpg"), "is no image")
        >>> str(skipped)
        'skipped 2 files: 1 unreadable (cat/1.jpg: is no image), 1 hidden'
        >>> skipped.check()
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: pets/cat/1.jpg cannot be read as an image: is no image; data.skip_bad: ...
    """

    root: Path
    skip_bad: bool = False
    bad: dict[str, list[Bad]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, reason: str, number: int = 1) -> None:
        """Count one file, or several."""
        self.counts[reason] = self.counts.get(reason, 0) + number

    def name(self, reason: str, path: Path, detail: str = "") -> None:
        """Count a sample that cannot be read and keep its name, a path below the data's folder."""
        below = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        self.bad.setdefault(reason, []).append(Bad(str(below), detail))

    def check(self, key: str = "data.root") -> None:
        """Refuse samples that cannot be read, unless they are skipped.

        Args:
            key: The setting that names the folder.

        Raises:
            UserError: If there is one; its line names the first.
        """
        every = [(reason, sample) for reason, samples in self.bad.items() for sample in samples]
        if not every or self.skip_bad:
            return
        reason, (path, detail) = every[0]
        more = f" (and {len(every) - 1:,} more that cannot be read)" if len(every) > 1 else ""
        between = " cannot be read as an image: " if reason == UNREADABLE else ": "
        raise UserError(f"{key}: {self.root / path}{between}{detail or f'is {reason}'}{more}; {SKIP_HINT}")

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each sample that cannot be read: its path below the data's folder, and why."""
        every = [(reason, sample) for reason, samples in self.bad.items() for sample in samples]
        return tuple(_line(sample, _WHOLE, reason) for reason, sample in every)

    def __str__(self) -> str:
        parts = [f"{len(samples):,} {reason} ({_first(samples)})" for reason, samples in self.bad.items()]
        parts += [f"{count:,} {reason}" for reason, count in sorted(self.counts.items())]
        total = sum(map(len, self.bad.values())) + sum(self.counts.values())
        return f"skipped {total:,} file{'s' if total > 1 else ''}: {', '.join(parts)}" if total else ""


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders in a folder, sorted.

    Raises:
        UserError: If the folder cannot be listed.

    Example:
        >>> subfolders(Path("/nowhere"))
        Traceback (most recent call last):
        limbeck.errors.UserError: data.root: cannot list /nowhere: No such file or directory
    """
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))
    except OSError as error:
        raise UserError(f"data.root: cannot list {folder}: {error.strerror}") from error


def is_hidden(name: str) -> bool:
    """Return whether an operating system or a notebook left a file or folder of this name beside the images.

    Example:
        >>> is_hidden("._cat.jpg"), is_hidden("__MACOSX"), is_hidden("cat.jpg")
        (True, True, False)
    """
    return name.startswith(".") or name == "__MACOSX"


def holds_images(folder: Path) -> bool:
    """Return whether a file with an image's extension lies somewhere below a folder.

    Example:
        >>> holds_images(Path("/nowhere"))
        False
    """
    return any(Path(name).suffix.lower() in EXTENSIONS for _, _, files in os.walk(folder) for name in files)


def list_images(folder: Path, skipped: Skipped) -> list[Path]:
    """List the image files below a folder, sorted, and count all others.

    The extension decides, in any case: those of :data:`EXTENSIONS`, and AVIF and HEIC where this Pillow reads them. Of
    a file with several images (GIF, TIFF) the first counts. Linked folders are not followed.

    Args:
        folder: The folder of a class.
        skipped: Receives what is no image, and what cannot be read.

    Raises:
        UserError: If a folder cannot be listed.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> skipped = Skipped(folder)
        >>> for name in ("1.JPG", ".hidden.jpg", "notes.txt"):
        ...     _ = (folder / name).write_text("some")
        >>> [path.name for path in list_images(folder, skipped)], str(skipped)
        (['1.JPG'], 'skipped 2 files: 1 .txt (no image), 1 hidden')
    """
    readable = _readable()
    images: list[Path] = []
    for path in _files(folder):
        reason = _why_skipped(path, folder, readable)
        if reason is not None:
            skipped.count(reason)
        elif (reason := _why_bad(path)) is not None:
            skipped.name(reason, path)
        else:
            images.append(path)
    return sorted(images)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, onerror=_not_listed):
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from (Path(place, name) for name in (*files, *links))


def _not_listed(error: OSError) -> NoReturn:
    raise UserError(f"data.root: cannot list {error.filename}: {error.strerror}") from error


def _readable() -> set[str]:
    plugins = {ending for ending, format in Image.registered_extensions().items() if format in Image.OPEN}
    return {*EXTENSIONS, *plugins.intersection(_PLUGIN_EXTENSIONS)}


def _why_skipped(path: Path, folder: Path, readable: set[str]) -> str | None:
    ending = path.suffix.lower()
    if any(is_hidden(part) for part in path.relative_to(folder).parts):
        return "hidden"
    if path.is_dir():
        return "linked folder (not followed)"
    if ending in readable:
        return None
    if ending in _PLUGIN_EXTENSIONS:
        return f"{ending} (this Pillow cannot read them; convert them to JPEG or PNG)"
    return f"{ending[:12] or 'without an extension'} (no image)"


def _why_bad(path: Path) -> str | None:
    if not is_file(path):
        return "no regular file"
    return None if path.stat().st_size else "empty"


def _line(sample: Bad, limit: int, reason: str = "") -> str:
    name, detail = shortened(sample.path, limit, quoted=False), sample.detail or reason
    return f"{name}: {detail}" if detail else name


def _first(samples: list[Bad]) -> str:
    named = [_line(sample, _LONGEST) for sample in samples[:_NAMED]]
    return "; ".join(named) + ("; ..." if len(samples) > _NAMED else "")
