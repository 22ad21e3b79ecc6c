"""A folder of plain files, such as a kept teacher's, put elsewhere and fetched again, in parts."""

import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from limbeck.cache.manifest import Manifest, Part, Tick, Upload, read_manifest, read_part
from limbeck.cache.remote import RemoteFolder
from limbeck.errors import UserError

_PART_BYTES = 2**25


def send_files(source: Path, folder: RemoteFolder, key: str, *, tick: Tick = lambda *_: None) -> int:
    """Put the files of a kept teacher elsewhere; parts that are there already are not sent again.

    Args:
        source: The folder with the files; folders in it are left out.
        folder: Where; a folder of this teacher alone.
        key: The teacher's key.
        tick: Called with how many parts of how many are there.

    Returns:
        How many parts were sent.

    Raises:
        RunError: If the folder cannot be read or written.

    Example:
        >>> import tempfile
        >>> first, second = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
        >>> folder, _ = RemoteFolder.open("memory://files"), (first / "weights").write_bytes(b"12")
        >>> send_files(first, folder, "ab"), send_files(first, folder, "ab")
        (1, 0)
        >>> fetch_files(read_manifest(folder, "teacher", "ab"), folder, second); (second / "weights").read_bytes()
        b'12'
    """
    paths = sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith("."))
    counts = {path: -(-path.stat().st_size // _PART_BYTES) for path in paths}
    upload = Upload(folder, read_manifest(folder, "teacher", key), total=sum(counts.values()), tick=tick)
    files: dict[str, list[Part | None]] = {}
    for path in paths:
        with path.open("rb") as file:
            files[path.name] = [upload.part(path.name, index, part) for index, part in enumerate(_parts(file))]
    upload.finish(Manifest(kind="teacher", key=key, files=files))
    return upload.sent


def fetch_files(manifest: Manifest, folder: RemoteFolder, target: Path, *, tick: Tick = lambda *_: None) -> None:
    """Fetch files that were put elsewhere; parts that are here already are not fetched again.

    Args:
        manifest: What is there.
        folder: Where.
        target: The folder for the files, whose other content is deleted; nobody reads it before it is complete.
        tick: Called with how many parts of how many are here.

    Raises:
        RunError: If a part is missing or damaged, which names it, or the folder cannot be read.
        OSError: If a file cannot be written.
    """
    _delete_others(target, manifest.files)
    done, total = 0, len(manifest.objects)
    for name, parts in manifest.files.items():
        path = target / name
        with path.open("r+b" if path.exists() else "w+b") as file:
            for index, part in enumerate(parts):
                _fetch(file, folder, name, index, part)
                tick(done := done + 1, total)
            file.truncate(sum(part.size for part in parts if part))
            file.flush()
            os.fsync(file.fileno())


def is_same(manifest: Manifest, source: Path, names: Iterable[str]) -> bool:
    """Return whether files that were put elsewhere are those of a folder, or are in neither.

    Args:
        manifest: What is there.
        source: The folder.
        names: The names of the files.

    Raises:
        OSError: If a file cannot be read.

    Example:
        >>> import tempfile
        >>> is_same(Manifest(kind="teacher", key="ab", files={}), Path(tempfile.mkdtemp()), ["weights"])
        True
    """
    return all(manifest.files.get(name) == _described(source / name) for name in names)


def _described(path: Path) -> list[Part] | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return [Part.of(content) for content in _parts(file)]


def _parts(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_PART_BYTES), b"")


def _fetch(file: BinaryIO, folder: RemoteFolder, name: str, index: int, part: Part | None) -> None:
    if part is None or part.size > _PART_BYTES:
        raise UserError(f"{folder.url}: the part {index} of {name} is none of a kept teacher; push again")
    place = index * _PART_BYTES
    file.seek(place)
    if hashlib.sha256(file.read(part.size)).hexdigest() != part.sha256:
        content = read_part(folder, name, index, part)
        file.seek(place)
        file.write(content)


def _delete_others(target: Path, files: Collection[str]) -> None:
    for path in target.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in files or path.is_symlink():
            path.unlink()
