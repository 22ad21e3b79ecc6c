"""Folders of objects that a URL names: a folder, S3, Google Cloud Storage or whatever else fsspec reaches."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from limbeck.errors import RunError, UserError, first_line, one_line, shortened
from limbeck.files import content_digest, write_atomically

# Stores without folders, where making one could make a bucket of a mistyped name.
_WITHOUT_FOLDERS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "r2", "http", "https"}
_EXPECTED = "expected such as s3://bucket/folder, gs://bucket/folder or a folder"
_LOCAL, _NEAR = "file", {"file", "local", "memory"}


@dataclass(frozen=True)
class RemoteFolder:
    """A folder of objects, each of which is read and written whole.

    Use :meth:`open`.

    Attributes:
        system: The file system.
        path: The folder in it.
        url: The folder as messages name it.

    Example:
        >>> folder = RemoteFolder.open("memory://bucket").child("logits")
        >>> folder.write("note", b"whole"); folder.read("note"), folder.size("note"), folder.read("none"), folder.url
        (b'whole', 5, None, 'memory://bucket/logits')
    """

    system: AbstractFileSystem
    path: str
    url: str

    @classmethod
    def open(cls, url: str) -> "RemoteFolder":
        """Return the folder of a URL; nothing is read or made yet.

        Args:
            url: Such as ``s3://bucket/folder``, ``gs://bucket/folder`` or a path.

        Raises:
            UserError: If the protocol is unknown, or needs a package that is not installed.

        Example:
            >>> RemoteFolder.open("clowd://bucket")
            Traceback (most recent call last):
            limbeck.errors.UserError: URL 'clowd://bucket': Protocol not known: clowd; expected such as s3://..., ...
        """
        if not url.strip():
            raise UserError(f"URL: got an empty one, {_EXPECTED}")
        named = f"URL {shortened(url)}"
        try:
            system, path = url_to_fs(url)
        except ImportError as error:
            raise UserError(f"{named}: needs a package that is not installed: {first_line(error)}") from None
        except Exception as error:
            # Each file system has exceptions of its own.
            raise UserError(f"{named}: {first_line(error)}; {_EXPECTED}") from None
        return cls(system, path.rstrip("/"), url.rstrip("/"))

    def child(self, name: str) -> "RemoteFolder":
        """Return a folder in this one."""
        return RemoteFolder(self.system, self._of(name), f"{self.url}/{name}")

    def read(self, name: str) -> bytes | None:
        """Return an object's content, None if there is no such object.

        Raises:
            RunError: If it cannot be read.
        """
        with self._reaching(name, "read"):
            try:
                content: bytes = self.system.cat_file(self._of(name))
            except FileNotFoundError:
                return None
            return content

    def size(self, name: str) -> int | None:
        """Return an object's size in bytes, None if there is no such object or none is known.

        Raises:
            RunError: If the folder cannot be read.
        """
        with self._reaching(name, "read"):
            try:
                # What other processes have written meanwhile counts.
                self.system.invalidate_cache()
                size = self.system.size(self._of(name))
            except FileNotFoundError:
                return None
            return None if size is None else int(size)

    def write(self, name: str, content: bytes) -> None:
        """Make or replace an object; in a folder of this machine in one move.

        Raises:
            RunError: If it cannot be written.
        """
        with self._reaching(name, "written"):
            if not self._protocols & _WITHOUT_FOLDERS:
                self.system.makedirs(self.path, exist_ok=True)
            if _LOCAL in self._protocols:
                write_atomically(Path(self._of(name)), content)
            else:
                self.system.pipe_file(self._of(name), content)

    def remove(self, name: str) -> None:
        """Delete an object if it is there.

        Raises:
            RunError: If it cannot be deleted.
        """
        with self._reaching(name, "deleted"):
            try:
                self.system.rm_file(self._of(name))
            except FileNotFoundError:
                return

    def names(self) -> list[str]:
        """List the names of what is in the folder, in order; empty if it is not there.

        Raises:
            RunError: If it cannot be read.
        """
        with self._reaching("", "read"):
            try:
                self.system.invalidate_cache()
                found = self.system.ls(self.path, detail=False)
            except FileNotFoundError:
                return []
            return sorted(str(name).rstrip("/").rpartition("/")[2] for name in found)

    def has(self, name: str, size: int, digest: str) -> bool:
        """Return whether an object is there as it should be.

        Its size is compared, and its content where reading costs little: on this machine. An object store has a whole
        object or none.

        Args:
            name: The object.
            size: Its size in bytes.
            digest: The SHA-256 of its content.

        Raises:
            RunError: If the folder cannot be read.

        Example:
            >>> folder = RemoteFolder.open("memory://has")
            >>> folder.write("a", b"12"); folder.has("a", 2, content_digest(b"12")), folder.has("a", 2, "other")
            (True, False)
        """
        if self.size(name) != size:
            return False
        return not self._protocols & _NEAR or content_digest(self.read(name) or b"") == digest

    @property
    def _protocols(self) -> set[str]:
        protocol = self.system.protocol
        return {protocol} if isinstance(protocol, str) else set(protocol)

    def _of(self, name: str) -> str:
        return f"{self.path}/{name}"

    @contextmanager
    def _reaching(self, name: str, done: str) -> Iterator[None]:
        try:
            yield
        except (RunError, UserError):
            raise
        except Exception as error:
            # Each file system has exceptions of its own, such as those of a service without credentials.
            place = f"{self.url}/{name}".rstrip("/")
            raise RunError(f"{place}: cannot be {done} ({one_line(error)}); the same command continues") from None
