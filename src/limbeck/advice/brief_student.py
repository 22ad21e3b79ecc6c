"""The student that a teacher is measured beside: the recipe's network, trained briefly on the labels alone."""

from dataclasses import replace
from typing import NamedTuple

from torch import nn

from limbeck.build.context import Context
from limbeck.build.label_students import label_student_settings, train_on_labels
from limbeck.build.networks import create_network
from limbeck.build.reporting import Reporting
from limbeck.data import Data, Samples
from limbeck.data.split import hold_out
from limbeck.errors import UserError
from limbeck.training import TrainingSettings, check_schedule
from limbeck.training.settings import NOTHING_CHOSEN

_ROLE = "brief student"
# Of the training samples, where there is no validation split.
HELD_OUT_SHARE = 0.2
# A quarter of the recipe's epochs.
_PART = 4


class HeldOut(NamedTuple):
    """Data without the test split, and the samples that the student does not learn from.

    Attributes:
        data: The data that the student learns from; their test split is ``samples``.
        samples: The validation split, or a part that was cut from the training split.
        is_cut: Whether they were cut from the training split.
    """

    data: Data
    samples: Samples
    is_cut: bool


def held_out(data: Data, *, seed: int = 0) -> HeldOut:
    """Choose what a student is measured on: the validation split, else a fifth of the training split; never test.

    Args:
        data: The run's data.
        seed: Of the choice.

    Raises:
        UserError: If the training split is too small to cut from.

    Example:
        >>> from limbeck.data import load
        >>> part = held_out(load("fashion_mnist_sample", train_limit=200))
        >>> len(part.data.train), len(part.samples), part.is_cut
        (160, 40, True)
    """
    if data.validation is not None:
        return HeldOut(replace(data, test=data.validation, validation=None), data.validation, is_cut=False)
    try:
        stay, cut = hold_out(data.train.labels.cpu(), HELD_OUT_SHARE, seed=seed)
    except UserError as error:
        raise UserError(f"data.train: {error}; set data.validation, or take more training samples") from None
    samples = data.train.select(cut)
    return HeldOut(replace(data, train=data.train.select(stay), test=samples), samples, is_cut=True)


def brief_epochs(training: TrainingSettings, steps: int, epochs: int | None = None) -> int:
    """Return for how many epochs the student is trained.

    Args:
        training: That of a run.
        steps: Batches an epoch.
        epochs: How many; None for a quarter of a run's, or as many as the schedule needs.

    Raises:
        UserError: If ``epochs`` is not from 1 to a run's number, or too few for the schedule.

    Example:
        >>> [brief_epochs(TrainingSettings(epochs=30), 5, epochs) for epochs in (None, 10)]
        [8, 10]
        >>> brief_epochs(TrainingSettings(epochs=4, schedule="one_cycle"), 2)
        2
    """
    most = training.epochs
    if epochs is None:
        fitting = (count for count in range(max(1, round(most / _PART)), most) if _fits(training, steps, count))
        return next(fitting, most)
    if not 1 <= epochs <= most:
        raise UserError(f"student_epochs: got {epochs}, expected 1 to {most}, the epochs of a run")
    if not _fits(training, steps, epochs):
        got = f"student_epochs: got {epochs}, of {steps} batches each"
        raise UserError(f"{got}, expected more for the schedule {training.schedule.name}")
    return epochs


def _fits(training: TrainingSettings, steps: int, epochs: int) -> bool:
    try:
        check_schedule(shortened_training(training, epochs).schedule, epochs=epochs, steps=steps)
    except UserError:
        return False
    return True


def batches_of(training: TrainingSettings, part: HeldOut) -> int:
    """Return how many batches an epoch of the student has.

    Raises:
        UserError: If a batch is larger than what is not held out.
    """
    count = len(part.data.train)
    if training.batch_size > count:
        got = f"training.batch_size: got {training.batch_size}"
        raise UserError(f"{got}, expected at most the {count} {part.data.unit} that are not held out")
    return (count if training.drop_last else count + training.batch_size - 1) // training.batch_size


def brief_student(context: Context, part: HeldOut, epochs: int, reporting: Reporting) -> nn.Module:
    """Train the recipe's student for some epochs on the labels alone, unless that has been done before.

    It is kept beside trained teachers, by its settings, code and data.

    Args:
        context: The run.
        part: What it learns from, and what it is measured on while it is trained.
        epochs: How long.
        reporting: Where lines go.

    Returns:
        The network, in eval mode, on the CPU.

    Raises:
        UserError: If the settings do not fit the data, or what is kept is damaged.
        RunError: If the training fails.
    """
    recipe = context.recipe
    settings = label_student_settings(recipe, shortened_training(recipe.training, epochs), recipe.seed)
    network = create_network(settings, part.data, role=_ROLE, seed=settings.seed).module
    # Without its epochs: what they would show as test is what is held out.
    done = train_on_labels(recipe, settings, network, part.data, Reporting(reporting.log), _ROLE)
    reporting.log(f"{_ROLE} {settings.name}: {epochs} epochs, {done.about}")
    return network


def shortened_training(training: TrainingSettings, epochs: int) -> TrainingSettings:
    """Return a training of fewer epochs, its schedule shortened with it, that is measured at its end alone.

    Example:
        >>> whole = TrainingSettings(epochs=30, schedule={"name": "multi_step", "milestones": [15, 25]})
        >>> shortened_training(whole, 6).schedule.milestones
        (3.0, 5.0)
    """
    ratio, schedule = epochs / training.epochs, training.schedule
    milestones = tuple(ratio * milestone for milestone in schedule.milestones)
    shorter = {"milestones": milestones, "warmup_epochs": ratio * schedule.warmup_epochs}
    changes = {**NOTHING_CHOSEN, "epochs": epochs, "evaluate_every": epochs, "checkpoint_every": epochs}
    return training.model_copy(update={**changes, "schedule": schedule.model_copy(update=shorter)})
