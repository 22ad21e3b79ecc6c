"""Files elsewhere: in parts, each with its SHA-256, and a list of all parts that is written last."""

import json
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limbeck.cache.remote import RemoteFolder
from limbeck.errors import RunError, UserError, shortened
from limbeck.files import content_digest

Tick = Callable[[int, int], None]
MANIFEST = "manifest.json"
"""The object that lists all others."""
_FORMAT = 1


class Part(BaseModel):
    """A piece of a file, which is an object named by its place and content.

    Attributes:
        size: Its size in bytes.
        sha256: The SHA-256 of its content, 64 hexadecimal digits.

    Example:
        >>> Part.of(b"12").object("rows", 3)
        'rows.00003.6b51d431df5d7f14'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, content: bytes) -> "Part":
        """Describe a piece by its content."""
        return cls(size=len(content), sha256=content_digest(content))

    def object(self, file: str, index: int) -> str:
        """Return the name of the object that holds it."""
        return f"{file}.{index:05d}.{self.sha256[:16]}"


FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]


class Manifest(BaseModel):
    """What a folder elsewhere holds.

    Attributes:
        format: The number of this layout.
        kind: What the files are.
        key: The key of the cache or teacher.
        span: How many rows of a cache a part has; 0 for other files.
        files: The parts of each file in order, None for one that is empty and has no object.

    Example:
        >>> manifest = Manifest(kind="teacher", key="ab", files={"a.txt": [Part.of(b"12")]})
        >>> manifest.objects
        ['a.txt.00000.6b51d431df5d7f14']
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    kind: Literal["logits", "teacher"]
    key: str
    span: Annotated[int, Field(ge=0, lt=2**62)] = 0
    files: dict[FileName, list[Part | None]]

    @property
    def objects(self) -> list[str]:
        """The names of all objects beside the manifest itself."""
        return [part.object(file, index) for file, index, part in self.parts()]

    def parts(self) -> Iterator[tuple[str, int, Part]]:
        """Yield the file, number and description of every part that has an object."""
        for file, parts in self.files.items():
            yield from ((file, index, part) for index, part in enumerate(parts) if part is not None)


def read_manifest(folder: RemoteFolder, kind: str, key: str) -> Manifest | None:
    """Read what a folder elsewhere holds; None if nothing has been put there, or not all of it yet.

    Args:
        folder: The folder.
        kind: What is expected there.
        key: The key that is expected there.

    Raises:
        UserError: If it is of another format, kind or key.
        RunError: If it is damaged or cannot be read.

    Example:
        >>> read_manifest(RemoteFolder.open("memory://nothing"), "logits", "ab") is None
        True
    """
    content = folder.read(MANIFEST)
    if content is None:
        return None
    where = f"{folder.url}/{MANIFEST}"
    try:
        values = json.loads(content)
        found = values.get("format") if isinstance(values, dict) else None
        if isinstance(found, int) and found != _FORMAT:
            raise UserError(f"{where}: is of format {found}, expected {_FORMAT}, which this version of limbeck reads")
        manifest = Manifest.model_validate(values)
    except (ValidationError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise RunError(f"{where}: is damaged, expected a list of parts; push again") from None
    if (manifest.kind, manifest.key) != (kind, key):
        got = f"{manifest.kind} of key {shortened(manifest.key, quoted=False)}"
        raise UserError(f"{where}: holds {got}, expected {kind} of key {key}; give another URL")
    return manifest


def read_part(folder: RemoteFolder, file: str, index: int, part: Part) -> bytes:
    """Read a part, and compare it with its checksum.

    Raises:
        RunError: If it is not there or damaged, which names the object, or cannot be read.
    """
    name = part.object(file, index)
    # Before the content: what is much too large is not loaded.
    size = folder.size(name)
    content = folder.read(name) if size in (part.size, None) else None
    if content is None or Part.of(content) != part:
        got = "is not there" if size is None and content is None else "is damaged"
        remedy = "push again where the original is" + ("" if size is None else ", after deleting this object")
        raise RunError(f"{folder.url}/{name}: {got}, its SHA-256 is not that of the manifest; {remedy}")
    return content


class Upload:
    """Put files into a folder elsewhere: the parts that are not there yet, and the manifest last.

    Args:
        folder: The folder.
        before: What it holds by its manifest.
        total: How many parts there are.
        tick: Called with how many parts of how many are there.

    Attributes:
        sent: How many parts were sent.

    Example:
        >>> folder = RemoteFolder.open("memory://upload")
        >>> upload = Upload(folder, None, total=1)
        >>> parts = {"a.txt": [upload.part("a.txt", 0, b"12")]}
        >>> upload.finish(Manifest(kind="teacher", key="ab", files=parts)); folder.names(), upload.sent
        (['a.txt.00000.6b51d431df5d7f14', 'manifest.json'], 1)
    """

    def __init__(
        self, folder: RemoteFolder, before: Manifest | None, *, total: int, tick: Tick = lambda *_: None
    ) -> None:
        self.folder, self.before, self.sent = folder, before, 0
        self._done, self._total, self._tick = 0, total, tick

    def part(self, file: str, index: int, content: bytes | None) -> Part | None:
        """Put a part there, unless it is; return its description, None for one without content, which has no object.

        Raises:
            RunError: If the folder cannot be read or written.
        """
        part = None if content is None else Part.of(content)
        if part is not None and content is not None:
            name = part.object(file, index)
            if not self.folder.has(name, part.size, part.sha256):
                self.folder.write(name, content)
                self.sent += 1
        self._done += 1
        self._tick(self._done, self._total)
        return part

    def finish(self, manifest: Manifest) -> None:
        """Write the list of all parts, then delete those of the former list that are in it no more.

        Raises:
            RunError: If the folder cannot be written.
        """
        content = manifest.model_dump_json(indent=1).encode() + b"\n"
        if self.folder.read(MANIFEST) != content:
            self.folder.write(MANIFEST, content)
        former = [] if self.before is None else self.before.objects
        for name in set(former).difference(manifest.objects):
            self.folder.remove(name)
