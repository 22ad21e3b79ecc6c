"""The folder of a comparison: whether it can be used, its lock, and what is deleted to overwrite it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from limbeck.errors import RunError, UserError
from limbeck.files import expanded, write_atomically
from limbeck.recipes.loading import dump_recipe
from limbeck.recipes.schema import Recipe
from limbeck.runs.folder import OF_TRACKERS, RunFolder, is_occupied, remove

_FILES = (
    "table.md",
    "table.csv",
    "plot.png",
    "plot.svg",
    "comparison.json",
    "teachers.safetensors",
    "report.html",
    *OF_TRACKERS,
    "recipe.yaml",
)


class ComparisonFolder:
    """The folder of a comparison.

    Args:
        path: The folder; ``~`` is the user's home.
        resume: Whether a comparison that is there may be continued.
        overwrite: Whether it may be deleted.

    Raises:
        UserError: If both are given.

    Example:
        >>> ComparisonFolder("runs/table").path
        PosixPath('runs/table')
    """

    def __init__(self, path: str | Path, *, resume: bool = False, overwrite: bool = False) -> None:
        if resume and overwrite:
            raise UserError("resume and overwrite: got both, expected one: the comparison is resumed or replaced")
        self.path, self.resume, self.overwrite = expanded(path), resume, overwrite

    def check(self) -> None:
        """Raise ``UserError`` unless the folder can be used: new, to be resumed, or to be overwritten."""
        if not is_occupied(self.path, "the comparison"):
            return
        if not (self.path / "recipe.yaml").is_file():
            raise UserError(f"{self.path}: is not empty and holds no comparison, expected another --out")
        if (self.path / "search.yaml").is_file():
            raise UserError(f"{self.path}: holds a search, expected the folder of a comparison, or another --out")
        if RunFolder(self.path).begun:
            raise UserError(f"{self.path}: holds a single run, expected the folder of a comparison, or another --out")
        if not self.resume and not self.overwrite:
            ways = "--resume to continue it, or --overwrite to replace it"
            raise UserError(f"{self.path}: holds a comparison, expected another --out, or {ways}")

    @contextmanager
    def held(self, recipe: Recipe) -> Iterator[None]:
        """Make the folder, keep other processes from it for the block, and write the resolved recipe.

        If the block fails before any run began, the folder is left as if nothing had been tried.

        Raises:
            LockedError: If another process works in the folder.
            UserError: If the folder cannot be made, or used by now.
        """
        with RunFolder(self.path).held():
            self.check()
            if self.overwrite:
                self.clear()
            write_atomically(self.path / "recipe.yaml", dump_recipe(recipe))
            try:
                yield
            except (UserError, RunError):
                if not self._runs():
                    for name in (*OF_TRACKERS, "recipe.yaml"):
                        remove(self.path / name)
                raise

    def _runs(self) -> list[Path]:
        return [folder for folder in self.path.glob("*/seed-*") if re.fullmatch(r"seed-\d+", folder.name)]

    def clear(self) -> None:
        """Delete the comparison and its runs.

        Raises:
            UserError: If one of the runs holds a file that no run makes, or something cannot be deleted.
        """
        runs = self._runs()
        for folder in runs:
            RunFolder(folder).check_no_foreign_files()
        try:
            for folder in runs:
                shutil.rmtree(folder)
            for name in _FILES:
                remove(self.path / name)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be overwritten ({error.strerror})") from None
        for parent in {folder.parent for folder in runs}:
            with suppress(OSError):
                parent.rmdir()
