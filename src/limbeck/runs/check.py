"""``limbeck check``: what a recipe's runs would do and cost, before anything is trained."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.build.caching import expected_spec, is_cached, logits_folder, stored_shape
from limbeck.build.checks import check_method, check_student
from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.measured_teacher import measure_teacher
from limbeck.build.method_warnings import method_warnings
from limbeck.build.networks import input_adapter, parameter_count
from limbeck.build.pixels import stores
from limbeck.build.reporting import Reporting
from limbeck.build.shared import Shared
from limbeck.build.teacher_settings import teacher_settings
from limbeck.build.teachers import build_teacher, is_network_trained, is_trained, naming, teacher_data
from limbeck.build.trial import multiply_adds, peak_memory
from limbeck.cache.spec import size
from limbeck.data import Data
from limbeck.data.images.files import MissingFilesError
from limbeck.errors import UserError
from limbeck.models.estimators.network import EstimatorNetwork
from limbeck.randomness.seeding import generators_kept
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.schema import Recipe
from limbeck.reporting import no_log
from limbeck.runs.costs import Costs, SharedCost, estimated, has_cache_by_seed
from limbeck.runs.downloads import without_downloads
from limbeck.runs.method_recipes import check_seeds, method_recipe
from limbeck.runs.trackers import check_trackers
from limbeck.training import TrainingSettings, check_schedule, make_fabric, resolve_device

_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True)
class Checked:
    """What a recipe's runs would do and cost.

    Attributes:
        sections: Lines by title: data, networks, teacher, time, memory, disk, downloads.
        warnings: What may go wrong, a line each.
        problems: What would stop a run, a line each; without any the runs can begin.
        figures: The numbers of the lines: counts, and the seconds of a run by ``time.METHOD``, of all by
            ``time.comparison``.
    """

    sections: Mapping[str, tuple[str, ...]]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    figures: Mapping[str, float]


def check(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    overrides: Mapping[str, Any] | None = None,
    reporting: Reporting | None = None,
    trust: bool = False,
) -> Checked:
    """Check a recipe's run and its comparison without training, downloading or writing results.

    The data are loaded, the networks made, a few steps are timed on copies, and a teacher that is there is measured,
    which later runs need not repeat. Nothing is downloaded: what a run would download is listed, and networks whose
    weights are not there are checked without them.

    Args:
        recipe: A YAML file, the name of a packaged recipe, a mapping, or a recipe.
        overrides: Values by dotted key, such as ``{"training.epochs": 5}``.
        reporting: Where the progress of longer steps goes; nowhere by default.
        trust: Whether the recipe may name any ``python:`` function, see :func:`limbeck.recipes.trust.check_trust`.

    Returns:
        The findings. Problems are among them, not raised.

    Raises:
        UserError: If the recipe itself, its data or its student cannot be used.

    Example:
        >>> import limbeck
        >>> recipe = {"data": {"name": "fashion_mnist_sample", "train_limit": 200}, "student": "resnet8",
        ...           "method": "label_smoothing", "compare": {"methods": ["none", "tf_kd_reg"]}}
        >>> checked = limbeck.check(recipe)
        >>> checked.problems, int(checked.figures["student.parameters"])
        ((), 77754)
        >>> sorted(name for name in checked.figures if name.startswith("time."))
        ['time.comparison', 'time.label_smoothing', 'time.none', 'time.tf_kd_reg']
    """
    given = load_recipe(recipe, overrides, trust=trust)
    usable, downloads = without_downloads(given)
    try:
        with generators_kept():
            return _Check(given, usable, downloads, reporting or Reporting()).checked()
    except MissingFilesError as error:
        if not given.data.download:
            raise
        where = f"data.download: the files of {given.data.name} are not there yet, and the first run gets them"
        raise UserError(f"{where}; the rest can be checked then") from error


class _Check:
    """One check: what is looked at, and what was found."""

    def __init__(self, given: Recipe, recipe: Recipe, downloads: Mapping[str, str], reporting: Reporting) -> None:
        self.given, self.recipe, self.downloads, self.reporting = given, recipe, downloads, reporting
        self.shared = Shared(keep_teachers=True)
        self.first = Context(recipe, self.shared)
        self.data = self.first.data
        self.stores = stores(self.data, given.data)
        self.figures: dict[str, float] = {}
        self.warnings: list[str] = []

    def checked(self) -> Checked:
        """Go through all of it."""
        student = self.first.student()
        check_student(self.first, student.module)
        contexts, problems = self._usable(student.module)
        sections: dict[str, Sequence[str]] = {
            "data": self._of_data(),
            "networks": (*self._of_networks(student.module, contexts), *student.notes),
        }
        if contexts:
            sections["teacher"] = self._of_teachers(contexts)
            sections["time"] = self._of_time(contexts)
            sections["memory"] = [self._of_memory()]
            sections["disk"] = tuple(dict.fromkeys(line for c in contexts.values() for line in _disk(c)))
        sections["downloads"] = [f"{key} {line}" for key, line in self.downloads.items()] or ["nothing"]
        return Checked(
            {title: tuple(lines) for title, lines in sections.items() if lines},
            tuple(dict.fromkeys(self.warnings)),
            tuple(problems),
            self.figures,
        )

    def _usable(self, student: nn.Module) -> tuple[dict[str, Context], list[str]]:
        """Return a run of each method that can begin, and what is wrong with the others."""
        contexts, problems = {}, []
        for of_all in (check_seeds, check_trackers):
            try:
                of_all(self.recipe)
            except UserError as error:
                problems.append(str(error))
        for name in dict.fromkeys((*self.recipe.compare.methods, self.recipe.method.name)):
            context = Context(self._recipe_of(self.recipe, name), self.shared)
            try:
                # Some settings are refused beside weights, which the recipe without downloads lacks.
                teacher_settings(self._recipe_of(self.given, name))
                check_method(context, student)
                _check_teacher_trainings(context, self._untrained())
            except UserError as error:
                problems.append(f"{name}: {error}")
            else:
                contexts[name] = context
                self.warnings += [f"{name}: {line}" for line in method_warnings(context.recipe)]
        return contexts, problems

    def _recipe_of(self, recipe: Recipe, name: str) -> Recipe:
        compared = name in recipe.compare.methods
        return method_recipe(recipe, name, recipe.seed) if compared else recipe

    def _of_data(self) -> tuple[str, ...]:
        (first, *notes), task = self.data.description, self.first.task
        self.figures |= {"data.classes": len(self.data.classes), "data.train": len(self.data.train)}
        # Maps and boxes have a label that stands for the whole image, by which splits are drawn.
        counts = () if task.several_rows or task.by_parts or task.stores_maps else _class_counts(self.data)
        return (first.removeprefix("data: "), *counts, *notes)

    def _of_networks(self, student: nn.Module, contexts: Mapping[str, Context]) -> list[str]:
        lines = [self._of_network("student", self.recipe.student.name, student, self.data.example(1))]
        live = next((context for context in contexts.values() if context.source == "live"), None)
        return lines if live is None else [*lines, *self._of_teacher_networks(live)]

    def _of_teacher_networks(self, context: Context) -> Iterator[str]:
        for key, settings in context.teacher_settings.items():
            network, adapter = context.teacher_network(key).module, input_adapter(settings, self.data)
            inputs = self.data.example(1)
            yield self._of_network(key, settings.name, network, adapter(inputs) if adapter else inputs)

    def _of_network(self, key: str, name: object, network: nn.Module, inputs: Any) -> str:
        if isinstance(network, EstimatorNetwork):
            return f"{key} {name}: of scikit-learn"
        count = self.figures[f"{key}.parameters"] = parameter_count(network)
        line = f"{key} {name}: {count:,} parameters, {size(4 * count)} as float32"
        # What a detector computes depends on what it finds.
        if self.first.task.by_parts:
            return line
        work = self.figures[f"{key}.multiply_adds"] = multiply_adds(network, inputs, self.first.task)
        return f"{line}; {work:,} multiply-adds a sample"

    def _of_teachers(self, contexts: Mapping[str, Context]) -> list[str]:
        by_source = {context.source: context for context in contexts.values() if context.source in ("live", "self")}
        return [line for context in by_source.values() for line in self._of_teacher(context)]

    def _of_teacher(self, context: Context) -> list[str]:
        label = "self-teacher" if context.source == "self" else "teacher"
        if context.source == "live" and any(key in self.downloads for key in context.teacher_settings):
            return [f"{label}: its weights are not there, so that it is not measured"]
        if not is_trained(context):
            return [f"{label}: is trained by the first run, and not measured before"]
        lines: list[str] = []
        teacher = build_teacher(context, Reporting(lines.append, self.reporting.progress)).teacher
        self.reporting.log(f"measuring the {label}")
        measured = measure_teacher(context.recipe, self.data, teacher, no_log)
        if measured is not None:
            self.warnings += measured.warnings
            self.figures |= {key: value for key, value in measured.summary().items() if isinstance(value, float)}
            lines.append(measured.line)
        return lines

    def _of_time(self, contexts: Mapping[str, Context]) -> list[str]:
        settings, seeds = self.recipe.training, self.recipe.compare.seeds
        costs = estimated(contexts, self._untrained(), seeds)
        compared = [name for name in self.recipe.compare.methods if name in contexts]
        total = costs.comparison(compared, seeds)
        self.figures |= {f"time.{name}": seconds for name, seconds in costs.run.items()}
        self.figures["time.comparison"] = total
        return [
            f"estimated from a few steps on {_device(self.recipe)}; a machine that does other work takes longer",
            f"a batch of {settings.batch_size}: {_batch(costs)}",
            *(
                ["batches are made from the files here; runs make them from stored pixels (data.store)"]
                if self.stores
                else []
            ),
            *_of_patience(settings),
            *(f"not counted: the {what}" for what in self._uncounted(costs, contexts)),
            *(f"{_scope(once)}: {what}, {_duration(once.seconds)}" for what, once in costs.once.items()),
            *(f"{name}: {_duration(seconds)} a run" for name, seconds in costs.run.items()),
            f"limbeck compare: {len(compared)} methods x {seeds} seeds, {_duration(total)} one after another",
        ]

    def _untrained(self) -> set[str]:
        """Return the keys of networks whose weights are not there, and which no run trains further."""
        members = {f"teacher.members.{number}": member for number, member in enumerate(self.given.teacher.members)}
        given = {"teacher": self.given.teacher, **members}
        return {key for key in self.downloads if key in given and given[key].training is None}

    def _of_memory(self) -> str:
        device = make_fabric(self.recipe.training).device
        peak = self.figures["memory.peak"] = peak_memory(device)
        return (
            f"{size(peak)} at the peak of these steps, {'on the GPU' if device.type == 'cuda' else 'the whole process'}"
        )

    def _uncounted(self, costs: Costs, contexts: Mapping[str, Context]) -> Iterator[str]:
        by_parts = self.first.task.by_parts
        why = "which is run on what the student finds" if by_parts else "of scikit-learn, and its training"
        for source, seconds in costs.teacher.items():
            if seconds is None:
                yield f"{source} teacher's forward pass, {why}"
        if any(context.source == "lightweight" for context in contexts.values()):
            yield "lightweight teacher's training on synthetic digits, which is done once"


def _check_teacher_trainings(context: Context, untrained: set[str]) -> None:
    """Check the trainings of a live teacher, which a run checks when it begins them."""
    if context.source != "live":
        return
    for key, settings in context.teacher_settings.items():
        network = context.teacher_network(key).module
        with naming(key):
            # What stands in for weights that are not there is no training of the recipe's.
            if settings.training is None or key in untrained or isinstance(network, EstimatorNetwork):
                continue
            if is_network_trained(context, key):
                continue
            data, fabric = teacher_data(context, key), make_fabric(settings.training)
            views = Loaders(data, context.recipe.data, settings.training, fabric, settings.seed).train()
            _check_schedule(settings.training, len(views))


def _of_patience(settings: TrainingSettings) -> list[str]:
    if settings.patience is None:
        return []
    return [f"of all {settings.epochs} epochs; a run that training.patience ends early takes less"]


def _check_schedule(settings: TrainingSettings, steps: int) -> None:
    try:
        check_schedule(settings.schedule, epochs=settings.epochs, steps=steps)
    except UserError as error:
        raise UserError(f"training.{error}") from None


def _class_counts(data: Data) -> tuple[str, ...]:
    """Return the numbers of training samples of the classes, where a sample has one label."""
    labels = getattr(data.train, "labels", None)
    if not isinstance(labels, torch.Tensor) or labels.ndim != 1 or labels.is_floating_point():
        return ()
    counts = labels[labels >= 0].bincount(minlength=len(data.classes))
    fewest, most = int(counts.argmin()), int(counts.argmax())
    if fewest == most:
        return (f"training {data.unit} of each class: {int(counts[most]):,}",)
    ends = f"{int(counts[fewest]):,} ({data.classes[fewest]}) to {int(counts[most]):,} ({data.classes[most]})"
    return (f"training {data.unit} of a class: {ends}",)


def _device(recipe: Recipe) -> str:
    device = resolve_device(recipe.training.device)
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{device}, {torch.get_num_threads()} threads" if device == "cpu" else device


def _batch(costs: Costs) -> str:
    teachers = [
        f"{1e3 * seconds:.1f} ms for the {source} teacher's forward pass"
        for source, seconds in costs.teacher.items()
        if seconds is not None
    ]
    parts = (f"{1e3 * costs.trial.loading:.1f} ms to make", f"{1e3 * costs.trial.step:.1f} ms to train on", *teachers)
    return ", ".join(parts)


def _scope(shared: SharedCost) -> str:
    return "once for all runs of a seed" if shared.each_seed else "once for all runs"


def _duration(seconds: float) -> str:
    """Write seconds in words, as precisely as an estimate deserves."""
    for unit, length in (("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"


def _disk(context: Context) -> list[str]:
    """Return what the logits of a run's teacher take, stored or not."""
    recipe = context.recipe
    if not is_cached(recipe):
        return []
    spec = expected_spec(recipe, context.data, None, stored_shape(context))
    folder = logits_folder(recipe)
    free = shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free
    each = ", for each seed" if has_cache_by_seed(recipe) else ""
    return [f"logit cache of the {context.source} teacher{each}: {spec.estimate}; {size(free)} are free in {folder}"]
