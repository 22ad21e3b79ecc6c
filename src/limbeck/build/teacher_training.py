"""Train a teacher's network once: it is kept by its recipe, data and code, and later runs load it."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from limbeck import models
from limbeck.build.data import Loaders, load_data
from limbeck.build.estimators import FILE, fit_and_keep
from limbeck.build.networks import describe, parameter_count, placed
from limbeck.build.pixels import with_store
from limbeck.build.reporting import Reporting
from limbeck.build.task import task_of
from limbeck.build.teacher_store import cache_folder, made_once, source_hash
from limbeck.build.weights import weights_identity
from limbeck.cache.augmentation import settings_of
from limbeck.cache.key import digest_of
from limbeck.data import Data
from limbeck.distiller import Distiller
from limbeck.errors import UserError
from limbeck.files import csv_text, file_digest, write_atomically
from limbeck.models.estimators.network import EstimatorNetwork
from limbeck.models.saving import save_network
from limbeck.randomness.seeding import seed_everything
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.recipes.schema import Recipe
from limbeck.recipes.task_settings import TaskSettings
from limbeck.training import Engine, TrainingSettings, decide, make_fabric
from limbeck.training.checkpoint import usable_checkpoint

# Raised whenever the same recipe would make another teacher than before.
FORMAT = 2
_WEIGHTS = "teacher.safetensors"
# Settings of a training that are compared by the values that are decided for them.
_DECIDED = {"device", "precision", "channels_last"}


class Trained(NamedTuple):
    """A trained teacher in the store.

    Attributes:
        folder: Holds its weights.
        images: How many samples it was trained on.
        seconds: How long that took.
        before: Whether it was there already.
        unit: What its samples are called.
        choice: Which epoch was kept by what, or when the training ended, if that was chosen.
    """

    folder: Path
    images: int
    seconds: float
    before: bool
    unit: str = "images"
    choice: str = ""

    @property
    def about(self) -> str:
        """How it was trained, and where it is kept."""
        when = " before this run" if self.before else ""
        chosen = f"; {self.choice}" if self.choice else ""
        return f"trained on {self.images:,} {self.unit} in {self.seconds:.0f} s{when}{chosen} (kept in {self.folder})"


def trained_folder(recipe: Recipe, settings: NetworkTeacherSettings, network: nn.Module, data: Data) -> Path:
    """Return where a trained teacher is kept, whether it is there or not.

    Args:
        recipe: The run's recipe.
        settings: The network's settings, with ``training``.
        network: The network before its training.
        data: The run's data.

    Raises:
        UserError: If the data cannot be loaded with the teacher's own ``train_limit``.
    """
    return _folder(recipe, settings, network, training_data(recipe, settings, data))


def training_data(recipe: Recipe, settings: NetworkTeacherSettings, data: Data) -> Data:
    """Return what a teacher is trained on: the run's data, or more or fewer of them by its ``train_limit``.

    Raises:
        UserError: If they cannot be loaded.
    """
    if settings.train_limit in (None, recipe.data.train_limit):
        return data
    # A teacher is trained on labels alone, of which it may have those of all images in data.unlabeled.
    labeled = recipe.data.model_copy(update={"unlabeled": None})
    return with_store(load_data(labeled, train_limit=settings.train_limit), labeled, recipe.output.cache)


def _folder(recipe: Recipe, settings: NetworkTeacherSettings, network: nn.Module, data: Data) -> Path:
    assert settings.training is not None
    key = digest_of(_material(recipe, settings, settings.training, network, data))
    return cache_folder(recipe.output.cache) / "teachers" / key


def trained(
    recipe: Recipe,
    settings: NetworkTeacherSettings,
    network: nn.Module,
    data: Data,
    reporting: Reporting,
    *,
    role: str = "teacher",
) -> Trained:
    """Train a teacher's network, unless the same training has been done before.

    Args:
        recipe: The run's recipe.
        settings: The network's settings, with ``training``.
        network: The network, which may be trained in place; its weights are in the folder afterwards.
        data: The run's data.
        reporting: Where lines and progress go.
        role: What it is trained as, for lines of the log.

    Raises:
        UserError: If the settings do not fit the data, or the kept teacher is damaged.
        RunError: If the training fails.
    """
    data = training_data(recipe, settings, data)
    folder = _folder(recipe, settings, network, data)
    before = folder.is_dir()
    made_once(folder, lambda path: _make(path, recipe, settings, network, data, reporting, role), reporting.log)
    summary = _read_summary(folder)
    return Trained(folder, len(data.train), summary["seconds"], before, data.unit, summary.get("choice", ""))


def load_trained(network: nn.Module, folder: Path, name: str = "teacher") -> None:
    """Load a kept teacher into its network.

    Args:
        network: The network, changed in place.
        folder: That of :attr:`Trained.folder`.
        name: What begins the line of an error.

    Raises:
        UserError: If what is kept cannot be read.
    """
    if isinstance(network, EstimatorNetwork):
        network.load(folder / FILE, name=name)
    else:
        models.load_weights(network, folder / _WEIGHTS, name=name)


def _read_summary(folder: Path) -> dict[str, Any]:
    try:
        summary = json.loads((folder / "summary.json").read_bytes())
        file = folder / FILE if (folder / FILE).is_file() else folder / _WEIGHTS
        if summary.get("sha256", digest := file_digest(file)) != digest:
            raise ValueError("the weights are not those that were written")
        return {"seconds": float(summary["seconds"]), "choice": str(summary.get("choice", ""))}
    except (OSError, ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise UserError(
            f"{folder}: is damaged, expected a kept teacher; delete it to train the teacher again"
        ) from None


def _material(
    recipe: Recipe, settings: NetworkTeacherSettings, training: TrainingSettings, network: nn.Module, data: Data
) -> dict[str, Any]:
    decided = decide(training, network, data.example(2))
    without = {*training.without_effect, *_DECIDED, *training.unset_later, *(() if training.compile else ("compile",))}
    initial = {
        "weights": weights_identity(settings),
        "entry": settings.weights_entry,
        "freeze": settings.freeze,
        "task": None if recipe.task == TaskSettings() else recipe.task.model_dump(mode="json"),
    }
    if isinstance(network, EstimatorNetwork):
        initial["sklearn"] = version("scikit-learn")
    # Left out where nothing is given, so that teachers trained from scratch keep their keys.
    return {key: value for key, value in initial.items() if value} | {
        "format": FORMAT,
        "network": [settings.name, settings.options, source_hash(network, str(settings.name))],
        "seed": settings.seed,
        "data": [data.fingerprint, data.mean, data.std, settings_of(data.augment(recipe.data.augment))],
        "training": training.model_dump(exclude=without),
        "precision": [decided.device, decided.precision, decided.channels_last],
    }


def _make(
    folder: Path,
    recipe: Recipe,
    settings: NetworkTeacherSettings,
    network: nn.Module,
    data: Data,
    reporting: Reporting,
    role: str,
) -> None:
    if isinstance(network, EstimatorNetwork):
        fit_and_keep(folder, settings, network, data, reporting, role)
    else:
        _train(folder, recipe, settings, network, data, reporting, role)


def _train(
    folder: Path,
    recipe: Recipe,
    settings: NetworkTeacherSettings,
    network: nn.Module,
    data: Data,
    reporting: Reporting,
    role: str,
) -> None:
    assert settings.training is not None
    epochs, checkpoint = settings.training.epochs, folder / "checkpoints"
    reporting.log(f"training {settings.name} as {role}, {epochs} epochs on {len(data.train)} {data.unit}")
    resume = usable_checkpoint(checkpoint, reporting.log)
    training = decide(settings.training, network, data.example(2))
    fabric = make_fabric(training)
    loaders = Loaders(data, recipe.data, training, fabric, settings.seed)
    seed_everything(settings.seed)
    task = task_of(recipe, data)
    distiller = Distiller(network, method="none", task=task, seed=settings.seed)
    engine = Engine(
        placed(distiller, training, fabric.device),
        loaders.train(),
        training,
        fabric=fabric,
        splits=loaders.measured(),
        checkpoint=checkpoint,
        progress=reporting.progress,
        log=lambda line: reporting.log(f"{role}: {line}"),
    )
    rows = engine.fit(resume=resume)
    save_network(folder / _WEIGHTS, engine.network, describe(settings, network, data, recipe.task, training))
    seconds, digest = sum(row["seconds"] for row in rows), file_digest(folder / _WEIGHTS)
    choice = engine.keeping.summary(rows)
    if choice:
        choice["choice"] = "; ".join(engine.keeping.lines(rows)).replace("training.", "")
    summary = {
        **engine.keeping.chosen(rows),
        **choice,
        "parameters": parameter_count(network),
        "seconds": seconds,
        "sha256": digest,
    }
    write_atomically(folder / "metrics.csv", csv_text(rows))
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    shutil.rmtree(checkpoint)
