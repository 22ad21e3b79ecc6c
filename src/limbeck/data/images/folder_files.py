"""The image files of a folder, and how many others were skipped, by reason."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from limbeck.errors import UserError, shortened

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif"),
    *(".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_PLUGIN_EXTENSIONS = (".avif", ".heic", ".heif", ".hif")
_NAMED, _LONGEST = 3, 120


@dataclass(frozen=True)
class Skipped:
    """Files that are not part of a data set, by reason.

    Args:
        root: The data's folder.
        named: Paths below it, of files that are named to their owner, by reason.
        counts: How many others there are, by reason.

    Example:
        >>> skipped = Skipped(Path("pets"))
        >>> skipped.count("hidden")
        >>> skipped.name("unreadable", Path("pets/cat/1.jpg"), "is no image")
        >>> str(skipped)
        'skipped 2 files: 1 unreadable (cat/1.jpg: is no image), 1 hidden'
    """

    root: Path
    named: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, reason: str, number: int = 1) -> None:
        """Count one file, or several."""
        self.counts[reason] = self.counts.get(reason, 0) + number

    def name(self, reason: str, path: Path, detail: str = "") -> None:
        """Count one file and keep its name."""
        name = shortened(str(path.relative_to(self.root)), _LONGEST, quoted=False)
        self.named.setdefault(reason, []).append(f"{name}: {detail}" if detail else name)

    def __str__(self) -> str:
        parts = [f"{len(paths):,} {reason} ({_first(paths)})" for reason, paths in self.named.items()]
        parts += [f"{count:,} {reason}" for reason, count in sorted(self.counts.items())]
        total = sum(map(len, self.named.values())) + sum(self.counts.values())
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
    a file with several images (GIF, TIFF) the first counts.

    Args:
        folder: The folder of a class.
        skipped: Receives what is no image.

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
        elif path.stat().st_size == 0:
            skipped.name("empty", path)
        else:
            images.append(path)
    return sorted(images)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from (Path(place, name) for name in (*files, *links))


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
        return None if path.is_file() else f"{ending} (no regular file)"
    if ending in _PLUGIN_EXTENSIONS:
        return f"{ending} (this Pillow cannot read them; convert them to JPEG or PNG)"
    return f"{ending[:12] or 'without an extension'} (no image)"


def _first(paths: list[str]) -> str:
    return "; ".join(paths[:_NAMED]) + ("; ..." if len(paths) > _NAMED else "")
