"""Files: written so that nothing half-written is ever read, whatever stops the process; and their content as a hash."""

import csv
import errno
import glob
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.errors import RunError, UserError, shortened

_PARTIAL = ".partial"

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what the block writes there replaces ``path`` in one move.

    The content is on the disk before the move (fsync), the file has the permissions of the umask, and two
    processes never share a temporary file. If the block fails, ``path`` stays as it was.

    Args:
        path: The file to replace; its folder exists.

    Raises:
        RunError: If the file system refuses, such as a full disk or a deleted folder, or ``path`` is a device.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with replacing(path) as partial:
        ...     _ = partial.write_text("all or nothing")
        >>> path.read_text(), [entry.name for entry in path.parent.iterdir()]
        ('all or nothing', ['note.txt'])
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise RunError(f"{path}: is no regular file and cannot be replaced by one")
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_PARTIAL}")
    try:
        # Created here first: some writers, such as safetensors, would give it permissions of their own.
        with partial.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode
        yield partial
        partial.chmod(mode)
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the file at ``path`` by ``content`` in one move; text is written as UTF-8.

    Args:
        path: The file; its folder exists.
        content: The whole content.

    Raises:
        RunError: If the file system refuses.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note.txt"
        >>> write_atomically(path, "all or nothing")
        >>> path.read_text()
        'all or nothing'
    """
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def csv_text(rows: Sequence[Mapping[str, float]]) -> str:
    """Return rows as CSV with the union of their columns; a cell that a row lacks is empty.

    Example:
        >>> print(csv_text([{"epoch": 1}, {"epoch": 2, "test.accuracy": 0.5}]), end="")
        epoch,test.accuracy
        1,
        2,0.5
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def content_digest(*parts: "bytes | Tensor") -> str:
    """Return the SHA-256 of parts one after the other, 64 hexadecimal digits; a tensor counts with its values.

    Example:
        >>> content_digest(b"all or", b" nothing") == content_digest(b"all or nothing")
        True
    """
    digest = hashlib.sha256()
    for part in parts:
        # As bytes, for NumPy has no bfloat16.
        digest.update(part if isinstance(part, bytes) else _values(part))
    return digest.hexdigest()


def _values(tensor: "Tensor") -> memoryview:
    import torch

    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def expanded(path: str | Path) -> Path:
    """Replace a leading ``~`` by the home folder, as a shell does.

    Raises:
        UserError: If there is no such user.

    Example:
        >>> expanded("~/data") == Path.home() / "data"
        True
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"got {shortened(str(path))}, whose home folder is not known, expected a path") from None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits, without holding the file in memory.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note.txt"
        >>> path.touch()
        >>> file_digest(path)[:8]
        'e3b0c442'
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_regular(path: Path) -> None:
    """Refuse what would be read for ever, or waited for: pipes, sockets and devices; a folder is refused by its reader.

    Raises:
        OSError: If it is one, is not there, or cannot be reached.

    Example:
        >>> check_regular(Path(os.devnull))
        Traceback (most recent call last):
        OSError: [Errno 22] is a pipe, a socket or a device, expected a regular file: '/dev/null'
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        got = "is a pipe, a socket or a device, expected a regular file"
        raise OSError(errno.EINVAL, got, str(path))


def is_file(path: Path) -> bool:
    """Return whether there is a regular file of a name, of whatever length and letters.

    Example:
        >>> is_file(Path("/nowhere")), is_file(Path("a" * 10_000))
        (False, False)
    """
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Return whether there is a folder of a name, likewise.

    Example:
        >>> is_folder(Path("/")), is_folder(Path("a" * 10_000))
        (True, False)
    """
    try:
        return path.is_dir()
    except OSError:
        return False


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Delete the temporary files that killed processes left in ``folder``; for the holder of its lock alone.

    Args:
        folder: The folder.
        name: The file that they were to replace; by default any.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".note.txt.1-abcd.partial").touch()
        >>> remove_leftovers(folder)
        >>> list(folder.iterdir())
        []
    """
    begins = f"{glob.escape(name)}." if name else ""
    for leftover in folder.glob(f".{begins}*{_PARTIAL}"):
        with suppress(OSError):
            leftover.unlink()
