"""The folder of a search: whether it can be used, its lock, its plan, and what is deleted to overwrite it."""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from limbeck.errors import RunError, UserError, shortened
from limbeck.files import expanded, write_atomically
from limbeck.recipes.loading import dump_recipe
from limbeck.recipes.parsing import read_stored
from limbeck.recipes.schema import Recipe
from limbeck.runs.comparison_folder import ComparisonFolder
from limbeck.runs.folder import RunFolder, is_occupied
from limbeck.runs.resuming import check_same
from limbeck.runs.search.study import FILE

PLAN = "search.yaml"
TRIALS, RANDOM, FINAL = "trials", "random", "final"
# The plan comes last, so that a folder that is half deleted is still that of a search.
_FILES = ("best.yaml", "trials.csv", FILE, "recipe.yaml", PLAN)


class SearchFolder:
    """The folder of a search.

    ``recipe.yaml`` (resolved), ``search.yaml`` (what is searched and how), ``study.journal`` (Optuna's),
    ``trials.csv``, ``trials/NNN`` and ``random/NNN`` (run folders without students), ``best.yaml``, and ``final``, a
    comparison.

    Args:
        path: The folder; ``~`` is the user's home.
        resume: Whether a search that is there may be continued.
        overwrite: Whether it may be deleted.

    Raises:
        UserError: If both are given.

    Example:
        >>> SearchFolder("runs/search").final.as_posix()
        'runs/search/final'
    """

    def __init__(self, path: str | Path, *, resume: bool = False, overwrite: bool = False) -> None:
        if resume and overwrite:
            raise UserError("resume and overwrite: got both, expected one: the search is resumed or replaced")
        self.path, self.resume, self.overwrite = expanded(path), resume, overwrite
        self.final = self.path / FINAL

    @property
    def begun(self) -> bool:
        """Whether the folder holds a search."""
        return (self.path / PLAN).is_file()

    def check(self) -> None:
        """Raise ``UserError`` unless the folder can be used: new, to be resumed, or to be overwritten."""
        if not is_occupied(self.path, "the search"):
            return
        if not self.begun:
            raise UserError(f"{self.path}: is not empty and holds no search, expected another --out")
        if not self.resume and not self.overwrite:
            ways = "--resume to continue it, or --overwrite to replace it"
            raise UserError(f"{self.path}: holds a search, expected another --out, or {ways}")
        if self.overwrite:
            self._check_no_foreign_files()

    def former(self, recipe: Recipe) -> dict[str, Any] | None:
        """Return the plan of the search to be resumed; None if there is none.

        Raises:
            UserError: If the search there is one by another recipe, or its plan is damaged.
        """
        if not self.resume or not self.begun:
            return None
        stored = check_same(RunFolder(self.path), recipe)
        before, now = stored.training.epochs, recipe.training.epochs
        if before != now:
            expected = "expected the same, since the rungs depend on it"
            raise UserError(f"training.epochs: the search in {self.path} has {before}, got {now}; {expected}")
        path = self.path / PLAN
        values = read_stored(path)
        if not values:
            raise UserError(f"{path}: is damaged, expected the plan of a search; --overwrite replaces it")
        return values

    @contextmanager
    def held(self, recipe: Recipe, plan: Mapping[str, Any]) -> Iterator[None]:
        """Make the folder, keep other processes from it for the block, and write recipe and plan.

        Raises:
            LockedError: If another process works in the folder.
            UserError: If the folder cannot be made, or used by now.
        """
        with RunFolder(self.path).held():
            self.check()
            if self.overwrite:
                self._clear()
            is_new = not self.begun
            write_atomically(self.path / "recipe.yaml", dump_recipe(recipe))
            write_atomically(self.path / PLAN, yaml.safe_dump(dict(plan), sort_keys=False))
            try:
                yield
            except (UserError, RunError):
                if is_new and not (self.path / "trials.csv").is_file():
                    self._clear()
                raise

    def _run_folders(self) -> list[RunFolder]:
        return [RunFolder(path) for name in (TRIALS, RANDOM) for path in sorted((self.path / name).glob("*"))]

    def _check_no_foreign_files(self) -> None:
        known = {*_FILES, TRIALS, RANDOM, FINAL}
        foreign = [entry.name for entry in self.path.iterdir() if entry.name not in known and entry.name[0] != "."]
        foreign += [str(f.path.name) for f in self._run_folders() if not re.fullmatch(r"\d{3,}", f.path.name)]
        if foreign:
            got = f"{self.path}: holds {shortened(sorted(foreign)[0])}, which is no file of a search"
            raise UserError(f"{got}, so it is not replaced; expected another --out")
        for folder in self._run_folders():
            folder.check_no_foreign_files()

    def _clear(self) -> None:
        if self.final.is_dir():
            ComparisonFolder(self.final, overwrite=True).clear()
        try:
            for name in (TRIALS, RANDOM):
                shutil.rmtree(self.path / name, ignore_errors=True)
            for name in _FILES:
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be overwritten ({error.strerror})") from None


def check_former(plan: Mapping[str, Any], former: Mapping[str, Any], path: Path) -> None:
    """Raise ``UserError`` if a search is resumed with another plan, naming the first difference.

    Example:
        >>> check_former({"settings": 24}, {"settings": 12}, Path("runs/search"))
        Traceback (most recent call last):
        limbeck.errors.UserError: settings: the search in runs/search has 12, got 24; expected the same to resume, ...
    """
    for key, value in plan.items():
        if former.get(key) != value:
            got = f"{key}: the search in {path} has {shortened(former.get(key))}, got {shortened(value)}"
            raise UserError(f"{got}; expected the same to resume, another --out, or --overwrite to replace it")
