"""``limbeck run --replay``: a run's recipe once more in another folder, and whether the numbers came back."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck.build.caching import is_cached
from limbeck.build.context import Context
from limbeck.build.reporting import Reporting
from limbeck.build.teachers import is_trained
from limbeck.errors import UserError, shortened
from limbeck.files import expanded
from limbeck.randomness.seeding import generators_kept
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.runs.folder import RunFolder
from limbeck.runs.provenance import changes, provenance
from limbeck.runs.resuming import meaning
from limbeck.runs.run import distill
from limbeck.runs.same_numbers import SameNumbers, compare_numbers
from limbeck.runs.session import Run
from limbeck.runs.workers import cores

# A replay writes nothing to others' trackers, and what its run was compared with does not count.
_LEFT_OUT: Mapping[str, Any] = {"compare": {}, "search": {}, "output.trackers": []}
_SHOWN_RUNS = 3


@dataclass(frozen=True)
class Replayed:
    """A run that was made once more.

    Attributes:
        folder: The folder of the run.
        run: The replay; its folder is deleted by now unless ``out`` was given.
        numbers: What the comparison of both found.
        notes: What differs beside the numbers, such as versions, and what was used again, a line each.

    Example:
        >>> import torch
        >>> from limbeck.tasks import Classification
        >>> again = Run(Path("again"), {"test.accuracy": 0.9, "epoch": 30}, torch.nn.Identity(), Classification())
        >>> Replayed(Path("runs/kd"), again, SameNumbers(()), ()).line
        'runs/kd: nothing of it could be compared'
    """

    folder: Path
    run: Run
    numbers: SameNumbers
    notes: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether the numbers came back, bit for bit."""
        return self.numbers.equal

    @property
    def line(self) -> str:
        """Whether the numbers came back; if not, the first that differs."""
        if self.equal:
            return f"{self.folder}: the numbers came back: {self.numbers.counted} equal"
        if (first := self.numbers.first) is None:
            return f"{self.folder}: nothing of it could be compared"
        return f"{self.folder}: the numbers did not come back: {first.text}; {self.numbers.counted_differing} differ"


def replay(
    folder: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    reporting: Reporting | None = None,
    trust: bool = False,
) -> Replayed:
    """Run the recipe of a run folder once more, and compare the numbers; ``limbeck run --replay`` calls this.

    The replay takes the run's device, and its number of threads where the machine has as many cores. A teacher that is
    kept, and logits that are stored, are used again; another ``output.cache`` makes both anew. Trackers get nothing.

    Args:
        folder: The folder of a complete run.
        overrides: Settings that change no number, by dotted key, such as ``{"data.root": "elsewhere"}``.
        out: Where the replay's folder stays; by default it is a temporary one.
        resume: Resume a replay that was stopped in ``out``.
        overwrite: Replace a replay that is in ``out``.
        reporting: Where lines and progress go; nowhere by default.
        trust: Whether the recipe may name any ``python:`` function, see :func:`limbeck.recipes.trust.check_trust`.

    Returns:
        Both runs' numbers, compared.

    Raises:
        UserError: If the folder holds no complete run, its data or a file that it names have changed, or an override
            changes numbers.
        LockedError: If another process works in ``out``.
        RunError: If the training fails.

    Example:
        >>> import limbeck, tempfile
        >>> recipe = {"data": {"name": "fashion_mnist_sample", "train_limit": 100}, "student": "resnet8",
        ...           "method": "label_smoothing", "training": {"epochs": 1, "precision": "fp32"}}
        >>> done = limbeck.run(recipe, out=tempfile.mkdtemp())
        >>> limbeck.replay(done.folder).equal
        True
    """
    former = RunFolder(folder)
    _check_run(former)
    context = Context(_recipe(former, overrides or {}, trust=trust))
    log = reporting or Reporting()
    with _place(former, out, resume=resume) as place, _threads(_recorded_threads(former)) as threads:
        notes = (*_facts(former), *threads, *_check_same_start(former, context), *_used_again(context))
        run = distill(context, RunFolder(place), log, resume=resume, overwrite=overwrite)
        notes += tuple(_changes(former, RunFolder(place)))
        numbers = compare_numbers(former.path, place)
    return Replayed(former.path, run, numbers, (*notes, *numbers.left_out))


def _check_run(former: RunFolder) -> None:
    if not former.path.is_dir():
        raise UserError(f"{former.path}: no such folder, expected that of a complete run")
    found = [path for depth in ("*", "*/*") for path in former.path.glob(f"{depth}/summary.json")]
    if (runs := sorted(str(path.parent) for path in found)) and not (former.path / "summary.json").exists():
        listed = ", ".join(runs[:_SHOWN_RUNS]) + (f" and {len(runs) - _SHOWN_RUNS} more" if runs[_SHOWN_RUNS:] else "")
        raise UserError(f"{former.path}: holds {len(runs)} runs ({listed}), expected the folder of one of them")
    former.read_summary()


def _recipe(former: RunFolder, overrides: Mapping[str, Any], *, trust: bool) -> Recipe:
    file = former.path / "recipe.yaml"
    stored = load_recipe(file, _LEFT_OUT, trust=trust)
    recorded = (former.read_provenance() or {}).get("training", {}).get("device")
    device = {} if recorded is None else {"training.device": recorded}
    changed = load_recipe(file, {**_LEFT_OUT, **device, **overrides}, trust=trust)
    before, now = ({**meaning(recipe), "training.epochs": recipe.training.epochs} for recipe in (stored, changed))
    for key in dict.fromkeys([*now, *before]):
        if before.get(key) != now.get(key):
            values = f"the run in {former.path} has {_shown(before.get(key))}, got {_shown(now.get(key))}"
            raise UserError(f"{key}: {values}; a replay takes settings alone that change no number, such as data.root")
    return changed


def _shown(value: Any) -> str:
    return "nothing" if value is None else shortened(value, 60, quoted=False)


@contextmanager
def _place(former: RunFolder, out: str | Path | None, *, resume: bool) -> Iterator[Path]:
    """Yield the replay's folder; a temporary one is deleted afterwards."""
    if out is None:
        if resume:
            raise UserError("resume: expected --out with the folder of the replay that was stopped")
        place = Path(tempfile.mkdtemp(prefix="limbeck-replay-"))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return
    place = expanded(out)
    if place.resolve() == former.path.resolve():
        raise UserError(f"{place}: is the folder of the run itself, expected another --out")
    yield place


def _recorded_threads(former: RunFolder) -> int | None:
    recorded = (former.read_provenance() or {}).get("threads", {}).get("number")
    number = former.read_summary().get("threads") if recorded is None else recorded
    return number if isinstance(number, int) and number > 0 else None


@contextmanager
def _threads(recorded: int | None) -> Iterator[tuple[str, ...]]:
    """Compute with the recorded number of threads, and yield a line where that is not possible."""
    before = torch.get_num_threads()
    if recorded is None or recorded > cores():
        number = "an unknown number of" if recorded is None else recorded
        yield (f"the run had {number} threads, the replay has {before} (cores here: {cores()})",)
        return
    torch.set_num_threads(recorded)
    try:
        yield ()
    finally:
        torch.set_num_threads(before)


def _facts(former: RunFolder) -> Iterator[str]:
    """Yield what is known of the run that a replay does not repeat."""
    if former.read_provenance() is None:
        yield f"{former.path}: no provenance.json there, so that changed data, code and versions go unnoticed"
    if epochs := former.extended_from():
        listed = ", ".join(map(str, epochs))
        yield f"the run was extended from {listed} epochs: the replay trains all of them by the last schedule"


def _check_same_start(former: RunFolder, context: Context) -> tuple[str, ...]:
    """Refuse data and files that are not those of the run; return a line about code that is not."""
    stored = former.read_provenance()
    if stored is None:
        return ()
    with generators_kept():
        present = provenance(context, context.student().module)
    lines = []
    for change in changes(stored, present):
        what = f"the {change.name} {context.data.unit}" if change.group == "data" else f"the content of {change.name}"
        if change.group in ("data", "files"):
            line = f"{change.group}: {what} is not as in the run in {former.path}"
            raise UserError(f"{line}; expected the same, so that its numbers can come back")
        if change.group == "code":
            lines.append(f"the code of the {change.name} is not that of the run")
    return tuple(lines)


def _used_again(context: Context) -> Iterator[str]:
    """Yield what the replay does not make anew."""
    trained = [key for key, settings in context.teacher_settings.items() if settings.training is not None]
    if trained:
        kept = is_trained(context)
        yield "its teacher is the one that was kept" if kept else "its teacher was trained again"
    if is_cached(context.recipe):
        yield f"teacher.cache: {context.recipe.teacher.cache}: logits that were stored are used again"


def _changes(former: RunFolder, again: RunFolder) -> Iterator[str]:
    stored, present = former.read_provenance(), again.read_provenance()
    if stored is None or present is None:
        return
    unrecorded = [group for group in present if group not in stored]
    if unrecorded:
        yield f"not recorded by the version that made the run: {', '.join(unrecorded)}"
    found = [change for change in changes(stored, present) if change.group not in ("code", "seeds", "recipe")]
    for change in found:
        yield f"{change.group}.{change.name}: {_shown(change.before)}, now {_shown(change.now)}"
    if not found and not unrecorded:
        yield "versions, threads and machine are those of the run"
