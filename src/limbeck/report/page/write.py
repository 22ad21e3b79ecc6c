"""From folders to the file of a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from limbeck.data import Data
from limbeck.errors import UserError
from limbeck.files import expanded, write_atomically
from limbeck.report.page.content import content
from limbeck.report.page.html import MARK, render
from limbeck.report.page.parts import Part
from limbeck.report.page.reading import Results, read_results
from limbeck.report.page.samples import loaded

PAGE = "report.html"
"""The name of a page in the folder that it is about."""
_HEAD = 4096


def write_page(
    folders: Sequence[str | Path], out: str | Path | None = None, *, data: Data | None = None, trust: bool = False
) -> Path:
    """Write one self-contained HTML page on runs and comparisons; no network is run for it.

    Args:
        folders: The folders of runs and of comparisons; single runs on the same data stand side by side.
        out: The file; by default ``report.html`` in the one folder, or in the working folder for several.
        data: The data of all of them; by default they are loaded again for the sample images, without downloading any.
        trust: Whether data of the user's own code (``python:``) are loaded, too.

    Returns:
        The file.

    Raises:
        UserError: If a folder holds neither a complete run nor a comparison, or the file is not a page of limbeck.
        RunError: If the file cannot be written.

    Example:
        >>> write_page(["nowhere"])
        Traceback (most recent call last):
        limbeck.errors.UserError: nowhere: holds no complete run and no comparison, expected the folder of one
    """
    results = read_results(folders)
    target = _target(folders, out)
    parts = [_part(found, data, trust=trust) for found in results]
    title = results[0].title if len(results) == 1 else f"{len(results)} comparisons and runs"
    write_atomically(target, render([content(part) for part in parts], title))
    return target


def _target(folders: Sequence[str | Path], out: str | Path | None) -> Path:
    target = expanded(out or (Path(folders[0]) / PAGE if len(folders) == 1 else PAGE))
    if target.is_dir():
        raise UserError(f"{target}: is a folder, expected the name of a file such as {target / PAGE}")
    if not target.parent.is_dir():
        raise UserError(f"{target}: there is no folder {target.parent}, expected one for the page")
    if target.exists() and MARK not in _head(target):
        raise UserError(f"{target}: is there and is no page of limbeck, expected another --out")
    return target


def _head(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}), expected another --out") from None


def _part(results: Results, data: Data | None, *, trust: bool) -> Part:
    if data is not None:
        return Part(results, data)
    try:
        return Part(results, loaded(results.recipe, trust=trust))
    except UserError as error:
        return Part(results, None, str(error))
