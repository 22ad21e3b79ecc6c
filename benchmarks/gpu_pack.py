"""What travels to a machine without network, in pieces: data, and the packages that are not there."""

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from harness import shared_data
from limbeck.errors import UserError
from record import commit

TREE = Path(__file__).parents[1]
# Bytes that one transfer may have: the working tree and a piece.
LIMIT = 64 * 2**20
# Python of the machine with the GPU, and where its wheels run.
PYTHON, PLATFORMS = "3.12", ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
# limbeck's dependencies that the machine lacks, what they need, and what tests and comparisons need besides.
PACKAGES = (
    "lightning-fabric",
    "pydantic",
    "pydantic-core",
    "annotated-types",
    "typing-inspection",
    "captum",
    "torchdistill",
)
# The first piece holds what every stage needs; the data are complete when the second is there too.
DATA = (
    ("cifar100-train-1.tar", "unpack_cifar100.py", "cifar100-teacher"),
    ("cifar100-train-2.tar", "cifar100-test.tar"),
)
# So many bytes of this one travel with the first piece, which has room.
CUT, CUT_AT = "cifar100-train-2.tar", 6 * 2**20


@dataclass(frozen=True)
class Piece:
    """A folder that travels in one transfer.

    Attributes:
        folder: Where it lies.
        size: Its bytes.
        tree: The bytes of the working tree, which travels too.
    """

    folder: Path
    size: int
    tree: int

    @property
    def line(self) -> str:
        """Its size in words."""
        both, limit = (self.size + self.tree) / 2**20, LIMIT / 2**20
        return f"{self.folder}: {self.size / 2**20:.1f} MiB, with the working tree {both:.1f} of {limit:.0f} MiB"


def size_of(paths: Iterator[Path]) -> int:
    """Return the bytes of files."""
    return sum(path.stat().st_size for path in paths if path.is_file())


def tree_size() -> int:
    """Return the bytes of what git knows, or would."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=TREE, check=True, capture_output=True, text=True).stdout.splitlines()
    return size_of(TREE / name for name in listed)


def wheels(folder: Path) -> None:
    """Download the wheels of :data:`PACKAGES` in the versions of this environment."""
    names = [f"{name}=={version(name)}" for name in PACKAGES]
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    options = ["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON, *platforms]
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *options]
    subprocess.run([*words, "-d", str(folder), *names], check=True)


def metadata(folder: Path) -> None:
    """Write what an installed limbeck has beside its code: version and dependencies."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    beside = folder / f"limbeck-{project['version']}.dist-info"
    beside.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", "Name: limbeck", f"Version: {project['version']}"]
    lines += [f"Requires-Dist: {needed}" for needed in project["dependencies"]]
    (beside / "METADATA").write_text("\n".join(lines) + "\n")


def data(folder: Path, names: tuple[str, ...]) -> None:
    """Copy files and folders of the data at hand."""
    source = shared_data()
    if source is None:
        raise UserError("packing: expected LIMBECK_SHARED, a folder with data/")
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, folder / name)


def cut(path: Path, other: Path, size: int) -> None:
    """Put the first bytes of a file into another folder; whoever has both parts joins them."""
    content = path.read_bytes()
    (other / f"{path.name}.head").write_bytes(content[:size])
    (path.parent / f"{path.name}.tail").write_bytes(content[size:])
    path.unlink()


def pack(out: Path) -> list[Piece]:
    """Write the pieces below a folder, which is made anew.

    Raises:
        UserError: If a piece is larger than a transfer may be.
    """
    shutil.rmtree(out, ignore_errors=True)
    for number, names in enumerate(DATA, start=1):
        data(out / str(number) / "data", names)
    cut(out / "2" / "data" / CUT, out / "1" / "data", CUT_AT)
    wheels(out / "1" / "wheels")
    metadata(out / "1" / "site")
    (out / "1" / "about.json").write_text(json.dumps({"commit": commit()}) + "\n")
    tree = tree_size()
    pieces = [Piece(folder, size_of(folder.rglob("*")), tree) for folder in sorted(out.iterdir())]
    for piece in pieces:
        if piece.size + piece.tree > LIMIT:
            raise UserError(f"{piece.line}: expected less")
    return pieces
