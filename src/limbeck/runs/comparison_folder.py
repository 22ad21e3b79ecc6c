"""The folder of a comparison: whether it can be used, who works in it, and what --overwrite deletes."""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from limbeck.errors import RunError, UserError, shortened
from limbeck.files import remove_leftovers, write_atomically
from limbeck.locking import LockedError, locked
from limbeck.runs.folder import is_occupied
from limbeck.runs.loading import dump_recipe, load_recipe
from limbeck.runs.recipe import Recipe

_LOCK = ".lock"
_FILES = ("table.md", "table.csv", "plot.png", "plot.svg", "recipe.yaml")
# What may differ when a comparison is resumed; each run's own recipe is compared in its own folder.
_FREE = frozenset({"name", "method", "compare", "output", "seed"})


class ComparisonFolder:
    """The folder of a comparison.

    Args:
        path: The folder; ``~`` is the user's home.
        resume: Whether a comparison that is there may be continued.
        overwrite: Whether it may be deleted.

    Raises:
        UserError: If both are asked for.

    Example:
        >>> ComparisonFolder("runs/table").path
        PosixPath('runs/table')
    """

    def __init__(self, path: str | Path, *, resume: bool = False, overwrite: bool = False) -> None:
        if resume and overwrite:
            raise UserError("resume and overwrite: got both, expected one of them")
        self.path, self.resume, self.overwrite = Path(path).expanduser(), resume, overwrite

    def check(self, recipe: Recipe) -> None:
        """Raise ``UserError`` unless the folder can take this comparison: new, to be resumed, or to be overwritten."""
        if not self._is_occupied():
            return
        stored = self.path / "recipe.yaml"
        if not stored.is_file():
            raise UserError(f"{self.path}: is not empty and holds no comparison, expected another --out")
        if not self.resume and not self.overwrite:
            ways = "expected another --out, --resume to go on with it, or --overwrite to delete it"
            raise UserError(f"{self.path}: holds a comparison, {ways}")
        if self.resume:
            self._check_same(load_recipe(stored, trust=True), recipe)

    def _is_occupied(self) -> bool:
        entries = is_occupied(self.path, "the comparison") and list(self.path.iterdir())
        return bool(entries) and any(not entry.name.lstrip(".").startswith("lock") for entry in entries)

    def _check_same(self, stored: Recipe, given: Recipe) -> None:
        for key, before, now in differences(stored.model_dump(mode="json"), given.model_dump(mode="json")):
            if key.partition(".")[0] not in _FREE:
                raise UserError(
                    f"{self.path}: holds a comparison with {key} {shortened(before)}, got {shortened(now)}; expected the same"
                    " to resume (methods, seeds and their order may differ)"
                )

    @contextmanager
    def held(self, recipe: Recipe) -> Iterator[None]:
        """Make the folder, lock it for the block, and write the resolved recipe.

        If the block fails before any run began, the folder is left as it was.

        Raises:
            UserError: If the folder cannot be made, another process works in it, or :meth:`check` fails by now.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from None
        try:
            with locked(self.path / _LOCK, str(self.path)):
                self.check(recipe)
                yield from self._written(recipe)
        except LockedError:
            raise
        except (UserError, RunError):
            self._remove_if_empty()
            raise

    def _written(self, recipe: Recipe) -> Iterator[None]:
        if self.overwrite:
            self._clear()
        remove_leftovers(self.path)
        write_atomically(self.path / "recipe.yaml", dump_recipe(recipe))
        try:
            yield
        except (UserError, RunError):
            # Without a run, a corrected command shall find the folder as it was.
            if not any(entry.is_dir() for entry in self.path.iterdir()):
                (self.path / "recipe.yaml").unlink(missing_ok=True)
            raise

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            if [entry.name for entry in self.path.iterdir()] in ([], [_LOCK]):
                (self.path / _LOCK).unlink(missing_ok=True)
                self.path.rmdir()

    def _clear(self) -> None:
        try:
            for folder in [entry for entry in self.path.glob("*/seed-*") if re.fullmatch(r"seed-\d+", entry.name)]:
                shutil.rmtree(folder)
                with suppress(OSError):
                    folder.parent.rmdir()
            for name in _FILES:
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be overwritten ({error.strerror})") from None


def differences(before: Mapping[str, Any], now: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted keys whose values differ, with both values; None stands for a key that is missing.

    Example:
        >>> list(differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}))
        [('b.c', 2, 3)]
    """
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{group}{key}.")
        elif old != new:
            yield f"{group}{key}", old, new
