"""Make the teacher that a recipe asks for: load it, train it once, or take it from the store."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from limbeck import models
from limbeck.build.networks import (
    Loaders,
    check_network,
    create_network,
    describe,
    input_adapter,
    load_data,
    parameter_count,
)
from limbeck.build.task import task_of
from limbeck.build.teacher_store import cache_folder, made_once, source_hash
from limbeck.build.weights import library_weights, recorded_normalize
from limbeck.cache.key import digest_of
from limbeck.data import Data
from limbeck.distiller import Distiller
from limbeck.errors import RunError, UserError
from limbeck.files import file_digest, replacing, write_atomically
from limbeck.precision import Precision
from limbeck.randomness.hashing import derived_seed
from limbeck.randomness.seeding import seed_everything
from limbeck.recipes.schema import NetworkTeacherSettings, Recipe, TeacherSettings
from limbeck.runs.folder import save_network, to_csv
from limbeck.runs.resuming import WITHOUT_EFFECT, usable_checkpoint
from limbeck.teachers import (
    EnsembleTeacher,
    LightweightBank,
    LightweightTeacher,
    LiveTeacher,
    Teacher,
    train_lightweight,
)
from limbeck.teachers.digits import check_num_classes, source_digest, synthesize
from limbeck.teachers.lightweight import GOOD_ACCURACY
from limbeck.training import (
    Engine,
    Progress,
    TrainingSettings,
    decide,
    make_fabric,
    resolve_device,
    resolve_precision,
    uses_channels_last,
)

Log = Callable[[str], None]
# Raised whenever the same recipe would make another teacher than before.
_FORMAT = 2
# Settings of a training that count as what they come to.
_COUNTED_APART = {"device", "precision", "channels_last"}


def no_log(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Reporting:
    """Who is told while a teacher is made.

    Attributes:
        log: Told what happens, a line at a time.
        progress: Told of a training's steps, if anybody wants to know.

    Example:
        >>> Reporting().log("unheard")
    """

    log: Log = no_log
    progress: Progress | None = None


class BuiltTeacher(NamedTuple):
    """A teacher, and a line that says what it is and how good.

    Attributes:
        teacher: None for methods without one, and for a virtual one, which the distiller makes.
        about: Empty without a teacher.
    """

    teacher: Teacher | None
    about: str


def build_teacher(recipe: Recipe, data: Data, reporting: Reporting) -> BuiltTeacher:
    """Make the teacher of a run.

    Raises:
        UserError: If it cannot be made, or does not fit the data.
    """
    match recipe.source():
        case "live" if recipe.teacher.members:
            made = _ensemble(recipe, data, reporting)
        case "live":
            made = _live(recipe, recipe.teacher, data, "teacher", reporting)
        case "self":
            made = _live(recipe, _self_settings(recipe), data, "self-teacher", reporting)
        case "lightweight":
            made = _lightweight(recipe, data, reporting)
        case _:
            return BuiltTeacher(None, "")
    reporting.log(made.about)
    return made


def check_teacher(recipe: Recipe, data: Data) -> dict[str, nn.Module]:
    """Make the teacher's network and look whether it fits, without training anything.

    Returns:
        The live networks, each by the key that it stands under.

    Raises:
        UserError: If it cannot be made, or does not fit the data.
    """
    precision_by_network(recipe)
    match recipe.source():
        case "live":
            return {where: _network(settings, data, where) for where, settings in _networks(recipe)}
        case "self":
            _self_settings(recipe)
        case "lightweight":
            check_num_classes(len(data.classes))
            synthesize(2, 1, source=recipe.teacher.lightweight.source)
    return {}


def _self_settings(recipe: Recipe) -> TeacherSettings:
    student = recipe.student
    if student.weights is not None:
        raise UserError(
            "student.weights: got a file, expected none beside a self-teacher, which is trained from scratch"
        )
    # A seed of its own: otherwise the student of the same seed would walk its teacher's way again.
    seed = derived_seed(recipe.teacher.seed, 3) % 2**32
    own = {"training": recipe.training, "seed": seed, "precision": recipe.teacher.precision}
    return TeacherSettings(name=student.name, options=student.options, **own)


def _answers_in(recipe: Recipe, settings: NetworkTeacherSettings, where: str) -> Precision:
    wanted, key = settings.precision, f"{where}.precision"
    if wanted == "auto":
        wanted, key = recipe.training.precision, "training.precision"
    return resolve_precision(wanted, resolve_device(recipe.training.device), key=key)


def precision_by_network(recipe: Recipe) -> dict[str, Precision]:
    """Return the precision that each network of a recipe's live or self-teacher computes its logits in, by its key.

    Empty for other sources of logits.

    Raises:
        UserError: If the device lacks one of them.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> precision_by_network(load_recipe("quickstart", {"teacher.precision": "fp32"}))
        {'teacher': 'fp32'}
    """
    if recipe.source() not in ("live", "self"):
        return {}
    networks = [("teacher", recipe.teacher)] if recipe.source() == "self" else _networks(recipe)
    return {where: _answers_in(recipe, settings, where) for where, settings in networks}


def teacher_precisions(recipe: Recipe) -> list[Precision]:
    """List the precisions that the networks of a recipe's live or self-teacher answer in, each once.

    Raises:
        UserError: If the device lacks one of them.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> teacher_precisions(load_recipe("quickstart", {"teacher.precision": "fp32"}))
        ['fp32']
    """
    return list(dict.fromkeys(precision_by_network(recipe).values()))


def _networks(recipe: Recipe) -> list[tuple[str, TeacherSettings]]:
    """List the live networks of a recipe, each with the key that it stands under."""
    if not recipe.teacher.members:
        return [("teacher", recipe.teacher)]
    return [(f"teacher.members.{number}", _alone(one)) for number, one in enumerate(recipe.teacher.members)]


def _alone(member: NetworkTeacherSettings) -> TeacherSettings:
    return TeacherSettings(**{key: getattr(member, key) for key in NetworkTeacherSettings.model_fields})


def _ensemble(recipe: Recipe, data: Data, reporting: Reporting) -> BuiltTeacher:
    made = [_live(recipe, settings, data, where, reporting) for where, settings in _networks(recipe)]
    teacher = EnsembleTeacher([one.teacher for one in made if one.teacher], average=recipe.teacher.average)
    about = "; ".join(one.about for one in made)
    return BuiltTeacher(teacher, f"{len(made)} teachers averaged by {recipe.teacher.average}: {about}")


def _is_trained_elsewhere(settings: TeacherSettings) -> bool:
    has_own_weights = any(settings.options.get(key) for key in ("pretrained", "weights"))
    return settings.weights is not None or has_own_weights or str(settings.name).startswith("python:")


def _network(settings: TeacherSettings, data: Data, where: str = "teacher", log: Log = no_log) -> nn.Module:
    network = create_network(settings, data, role=where, seed=settings.seed, log=log)
    if settings.training is None and not _is_trained_elsewhere(settings):
        raise UserError(f"{where} {settings.name}: has no weights, expected {where}.weights or {where}.training")
    check_network(network, data, role=f"{where} {settings.name}", adapter=input_adapter(settings, data))
    return network


def _live(recipe: Recipe, settings: TeacherSettings, data: Data, role: str, reporting: Reporting) -> BuiltTeacher:
    network = _network(settings, data, role.removeprefix("self-"), reporting.log)
    about = f"{role} {settings.name}"
    if (recorded := recorded_normalize(settings, data)) is not None:
        reporting.log(
            f"{role}: normalized with the mean {recorded.mean} and deviation {recorded.std} that its file records"
        )
    if settings.training is not None:
        with _naming(role):
            folder, how = _trained(recipe, settings, network, data, reporting)
        models.load_weights(network, folder / "teacher.safetensors", name="teacher")
        about = f"{about}: {how}"
    adapter = input_adapter(settings, data)
    precision = _answers_in(recipe, settings, role.removeprefix("self-"))
    return BuiltTeacher(
        LiveTeacher(network, adapter=adapter, train_mode=settings.train_mode, precision=precision), about
    )


@contextmanager
def _naming(role: str) -> Iterator[None]:
    """Let what goes wrong in a teacher's training name the teacher, not the student's training."""
    try:
        yield
    except RunError as error:
        raise RunError(f"{role}: {error}") from error
    except UserError as error:
        key = str(error).removeprefix("data.")
        # A self-teacher is trained by the student's settings.
        if role == "self-teacher" or not key.startswith(("training.", "train_limit:")):
            raise
        raise UserError(f"{role}.{key}") from None


def _home(recipe: Recipe, settings: TeacherSettings, network: nn.Module, data: Data) -> tuple[Path, Data]:
    """Tell where a trained teacher is kept, and what it is trained on."""
    assert settings.training is not None
    if settings.train_limit:
        data = load_data(recipe.data, train_limit=settings.train_limit)
    key = digest_of(_material(recipe, settings, settings.training, network, data))
    return cache_folder(recipe.output.cache) / "teachers" / key, data


def is_trained(recipe: Recipe, data: Data) -> bool:
    """Return whether a run's live or self-teacher can be had without training a network.

    Raises:
        UserError: If it cannot be made, or does not fit the data.
    """
    networks = [("teacher", _self_settings(recipe))] if recipe.source() == "self" else _networks(recipe)
    for where, settings in networks:
        network = _network(settings, data, where)
        if settings.training is not None and not _home(recipe, settings, network, data)[0].is_dir():
            return False
    return True


def _trained(
    recipe: Recipe, settings: TeacherSettings, network: nn.Module, data: Data, reporting: Reporting
) -> tuple[Path, str]:
    folder, data = _home(recipe, settings, network, data)
    known = folder.is_dir()
    made_once(folder, lambda path: _train(path, recipe, settings, network, data, reporting), reporting.log)
    summary = _read_summary(folder)
    once = f"trained on {len(data.train):,} images in {summary['seconds']:.0f} s" + (
        " before this run" if known else ""
    )
    return folder, f"{once} (kept in {folder})"


def _read_summary(folder: Path) -> dict[str, float]:
    try:
        summary = json.loads((folder / "summary.json").read_bytes())
        if summary.get("sha256", digest := file_digest(folder / "teacher.safetensors")) != digest:
            raise ValueError("the weights are not those that were written")
        return {"seconds": summary["seconds"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{folder}: is damaged, expected a kept teacher; delete it to train the teacher again"
        ) from None


def _material(
    recipe: Recipe, settings: TeacherSettings, training: TrainingSettings, network: nn.Module, data: Data
) -> dict[str, Any]:
    decided = decide(training, network, data.shape)
    without = {*WITHOUT_EFFECT, *_COUNTED_APART, *(() if training.compile else ("compile",))}
    begun = {"weights": _content(settings), "entry": settings.weights_entry, "freeze": settings.freeze}
    # Left out where nothing is given, so that teachers trained from scratch keep their keys.
    given = {key: value for key, value in begun.items() if value}
    return given | {
        "format": _FORMAT,
        "network": [settings.name, settings.options, source_hash(network, str(settings.name))],
        "seed": settings.seed,
        "data": [data.fingerprint, data.mean, data.std, recipe.data.augment.model_dump()],
        "training": training.model_dump(exclude=without),
        "precision": [decided.device, decided.precision, decided.channels_last],
    }


def _content(settings: TeacherSettings) -> str | None:
    """Name the weights that a teacher's training begins with, by what is in them."""
    if settings.weights is None or library_weights(settings):
        return library_weights(settings)
    return file_digest(settings.weights)


def _train(
    folder: Path, recipe: Recipe, settings: TeacherSettings, network: nn.Module, data: Data, reporting: Reporting
) -> None:
    assert settings.training is not None
    epochs, checkpoint = settings.training.epochs, folder / "checkpoints"
    reporting.log(f"training {settings.name} as teacher, {epochs} epochs on {len(data.train)} images")
    resume = usable_checkpoint(checkpoint, reporting.log)
    training = decide(settings.training, network, data.shape)
    fabric = make_fabric(training)
    loaders = Loaders(data, recipe.data, training, fabric, settings.seed)
    seed_everything(settings.seed)
    checked = settings.training.check_finite
    distiller = Distiller(network, method="none", task=task_of(recipe, data), check_finite=checked)
    if uses_channels_last(training, fabric.device.type):
        distiller.to(memory_format=torch.channels_last)
    engine = Engine(
        distiller,
        loaders.train(),
        training,
        fabric=fabric,
        splits=loaders.measured(),
        checkpoint=checkpoint,
        progress=reporting.progress,
        log=lambda line: reporting.log(f"teacher: {line}"),
    )
    rows = engine.fit(resume=resume)
    save_network(folder / "teacher.safetensors", engine.network, describe(settings, data))
    seconds, digest = sum(row["seconds"] for row in rows), file_digest(folder / "teacher.safetensors")
    summary = {**rows[-1], "parameters": parameter_count(network), "seconds": seconds, "sha256": digest}
    write_atomically(folder / "metrics.csv", to_csv(rows))
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    shutil.rmtree(checkpoint)


def _lightweight(recipe: Recipe, data: Data, reporting: Reporting) -> BuiltTeacher:
    settings, seed = recipe.teacher.lightweight, recipe.teacher.seed
    made_from = settings.model_dump(exclude={"class_mean"})
    material = {**made_from, "source": source_digest(settings.source)}
    key = digest_of({"format": _FORMAT, "classes": len(data.classes), "seed": seed, **material})
    folder = cache_folder(recipe.output.cache) / "lightweight" / key

    def train(path: Path) -> None:
        reporting.log(f"training a lightweight teacher on synthetic digits, {len(data.classes)} classes")
        with warnings.catch_warnings():
            # A weak one is told of below, also by the runs that take it from the store.
            warnings.simplefilter("ignore", UserWarning)
            bank = train_lightweight(len(data.classes), seed=seed, **made_from)
        with replacing(path / "bank.safetensors") as partial:
            bank.save(partial)

    bank = LightweightBank.load(made_once(folder, train, reporting.log) / "bank.safetensors")
    teacher = LightweightTeacher(bank, seed=recipe.seed, class_mean=settings.class_mean)
    about = f"lightweight teacher: {bank.accuracy:.2%} of held-out synthetic samples right"
    if bank.accuracy < GOOD_ACCURACY:
        about += f", below {GOOD_ACCURACY:.0%}: expect it to cost the student accuracy"
    return BuiltTeacher(teacher, about)
