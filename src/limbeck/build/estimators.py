"""Estimators as teachers: loaded, or fitted once and kept; what only a network can do is refused."""

import json
import time
from pathlib import Path

import torch
from torch import nn

from limbeck.build.reporting import Reporting
from limbeck.data import Data
from limbeck.errors import UserError
from limbeck.files import file_digest, write_atomically
from limbeck.models.estimators.network import EstimatorNetwork
from limbeck.recipes.network_settings import NetworkSettings, NetworkTeacherSettings
from limbeck.training import TrainingSettings

FILE = "teacher.skops"
_OF_NETWORKS = ("freeze", "weights_entry", "normalize", "size", "classes", "train_mode", "layers")


def check_student(network: nn.Module) -> None:
    """Raise ``UserError`` if a student is an estimator.

    Example:
        >>> check_student(nn.Linear(1, 1))
    """
    if isinstance(network, EstimatorNetwork):
        raise UserError(f"a {network.label} has no gradients and can only teach, expected a network such as mlp")


def set_up_estimator(network: EstimatorNetwork, settings: NetworkSettings, data: Data) -> None:
    """Load what a recipe names into an estimator, and check its settings.

    Args:
        network: The estimator, changed in place.
        settings: Its settings.
        data: The run's data.

    Raises:
        UserError: If a setting is for networks alone, the file cannot be used, or it would not be fitted at all.
    """
    if not isinstance(settings, NetworkTeacherSettings):
        check_student(network)
        return
    _check_settings(network, settings)
    if settings.weights is not None:
        network.load(settings.weights, name=str(settings.name), class_names=data.classes)
    elif network.is_fitted:
        network.name_classes(data.classes)
    elif settings.training is None:
        got = f"{settings.name}: the {network.label} is not fitted"
        raise UserError(f"{got}, expected weights, a file of skops, or training: {{}}")


def _check_settings(network: EstimatorNetwork, settings: NetworkTeacherSettings) -> None:
    for key in _OF_NETWORKS:
        if getattr(settings, key, None):
            raise UserError(f"{key}: got one for a {network.label}, which is no network, expected none")
    if settings.training is None:
        return
    if settings.weights is not None:
        raise UserError(f"weights: got a file beside training, which fits a new {network.label}, expected one of both")
    given, blank = settings.training.model_dump(), TrainingSettings().model_dump()
    if changed := [key for key in given if given[key] != blank[key]]:
        expected = "expected training: {} and the options of the estimator itself"
        raise UserError(f"training.{changed[0]}: got one for a {network.label}, which has no epochs, {expected}")


def fit_and_keep(
    folder: Path,
    settings: NetworkTeacherSettings,
    network: EstimatorNetwork,
    data: Data,
    reporting: Reporting,
    role: str,
) -> None:
    """Fit an estimator on the training split without augmentation, and write it as ``teacher.skops``.

    Args:
        folder: Where it is kept.
        settings: The estimator's settings.
        network: The estimator, fitted afterwards.
        data: The data that it is fitted on.
        reporting: Where lines go.
        role: What it is fitted as, for lines of the log.

    Raises:
        UserError: If its settings or the samples do not fit it, or cannot be stored.
    """
    reporting.log(f"fitting {settings.name} as {role} on {len(data.train)} {data.unit}")
    start, batches = time.perf_counter(), list(data.batches(data.train, batch_size=500).epoch(0))
    inputs, labels = torch.cat([b.inputs for b in batches]), torch.cat([b.labels for b in batches])
    for line in network.fit(inputs, labels, seed=settings.seed):
        reporting.log(f"{role}: {line}")
    seconds = time.perf_counter() - start
    network.save(folder / FILE)
    summary = {"seconds": seconds, "sha256": file_digest(folder / FILE)}
    write_atomically(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
