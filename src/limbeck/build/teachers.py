"""The teacher of a run: loaded, trained once, taken from the store, or shared by the runs of a process."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from limbeck.build.class_columns import class_columns
from limbeck.build.context import Context
from limbeck.build.lightweight import lightweight_teacher
from limbeck.build.networks import input_adapter
from limbeck.build.reporting import Reporting
from limbeck.build.teacher_settings import answer_precision, in_train_mode
from limbeck.build.teacher_training import load_trained, trained, trained_folder, training_data
from limbeck.build.weights import recorded_normalize
from limbeck.data import Data
from limbeck.errors import RunError, UserError
from limbeck.recipes.network_settings import NetworkTeacherSettings
from limbeck.teachers import EnsembleTeacher, LiveTeacher, Teacher

_BATCH_SIZE = "training.batch_size="


class BuiltTeacher(NamedTuple):
    """A teacher, and lines about it.

    Attributes:
        teacher: None for methods without one, and for a virtual one, which the distiller makes.
        about: What it is and how good, in a line; empty without a teacher.
        lines: What a later run that shares it logs about it.
    """

    teacher: Teacher | None
    about: str
    lines: tuple[str, ...] = ()


def build_teacher(context: Context, reporting: Reporting) -> BuiltTeacher:
    """Make the teacher of a run, or return the one that another run of the process has made.

    Args:
        context: The run.
        reporting: Where lines, and the progress of a training, go.

    Raises:
        UserError: If it cannot be made, or does not fit the data.
        RunError: If its training fails.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> build_teacher(Context(load_recipe("quickstart", {"method": "none"})), Reporting())
        BuiltTeacher(teacher=None, about='', lines=())
    """
    match context.source:
        case "live" | "self":
            return _network_teacher(context, reporting)
        case "lightweight":
            teacher, about = lightweight_teacher(context, reporting)
            reporting.log(about)
            return BuiltTeacher(teacher, about)
        case _:
            return BuiltTeacher(None, "")


def _network_teacher(context: Context, reporting: Reporting) -> BuiltTeacher:
    key, shared = ("teacher", context.teacher_key), context.shared
    if not shared.keep_teachers:
        return _build(context, reporting)
    is_shared = key in shared
    built = shared.once(key, lambda: _build(context, reporting))
    for line in built.lines if is_shared else ():
        reporting.log(line)
    # In train mode a network's statistics move: each run begins with those of the file.
    return built._replace(teacher=copy.deepcopy(built.teacher)) if in_train_mode(context.recipe) else built


def _build(context: Context, reporting: Reporting) -> BuiltTeacher:
    built = [_live(context, key, settings, reporting) for key, settings in context.teacher_settings.items()]
    is_ensemble = context.source == "live" and context.recipe.teacher.members
    teacher = _ensemble(context, built) if is_ensemble else built[0]
    reporting.log(teacher.about)
    return teacher


def _ensemble(context: Context, built: Sequence[BuiltTeacher]) -> BuiltTeacher:
    average = context.recipe.teacher.average
    teacher = EnsembleTeacher([member.teacher for member in built if member.teacher], average=average)
    opening = f"{len(built)} teachers averaged by {average}"
    about = f"{opening}: {'; '.join(member.about for member in built)}"
    notes = [line for member in built for line in member.lines[:-1]]
    later = f"{opening}: {'; '.join(member.lines[-1] for member in built)}"
    return BuiltTeacher(teacher, about, (*notes, later))


def _live(context: Context, key: str, settings: NetworkTeacherSettings, reporting: Reporting) -> BuiltTeacher:
    role = f"self-{key}" if context.source == "self" else key
    network, notes = context.take_teacher_network(key)
    recorded = recorded_normalize(settings, context.data)
    if recorded is not None:
        values = f"the mean {recorded.mean} and deviation {recorded.std}"
        notes = (*notes, f"{role}: normalized with {values} that its file records")
    for line in notes:
        reporting.log(line)
    about = later = f"{role} {settings.name}"
    if settings.training is not None:
        with naming(role):
            done = trained(context.recipe, settings, network, context.data, reporting)
        load_trained(network, done.folder)
        about, later = f"{about}: {done.about}", f"{about}: {done._replace(before=True).about}"
    teacher = live_teacher(context, key, settings, network)
    return BuiltTeacher(teacher, about, (*notes, later))


def live_teacher(context: Context, key: str, settings: NetworkTeacherSettings, network: nn.Module) -> LiveTeacher:
    """Return a network of a recipe as the teacher of a run, with the inputs, precision and columns of its settings.

    Args:
        context: The run.
        key: The recipe's key of the network.
        settings: Its settings.
        network: The network itself, which is frozen.

    Raises:
        UserError: If the settings do not fit the data or the device.
    """
    return LiveTeacher(
        network,
        adapter=input_adapter(settings, context.data),
        train_mode=settings.train_mode,
        precision=answer_precision(context.recipe, settings, key),
        device=present_device(settings.device, key),
        call=context.task.call,
        columns=class_columns(settings, context.data, key),
    )


def present_device(wanted: str | None, key: str) -> str | None:
    """Return the device of a teacher; None for that of the student.

    Args:
        wanted: The recipe's.
        key: The recipe's key of the network.

    Raises:
        UserError: If this machine lacks it.

    Example:
        >>> present_device("cpu", "teacher")
        'cpu'
    """
    if wanted is None or wanted == "cpu":
        return wanted
    kind, _, number = wanted.partition(":")
    present = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(number or 0) >= present:
        raise UserError(f"{key}.device: got {wanted!r}, which this machine lacks, expected cpu or one that is there")
    return wanted


@contextmanager
def naming(role: str) -> Iterator[None]:
    """Begin the message of an error of a teacher's training with the teacher."""
    try:
        yield
    except RunError as error:
        # A self-teacher is trained by the student's settings.
        text = str(error) if role == "self-teacher" else str(error).replace(_BATCH_SIZE, f"{role}.{_BATCH_SIZE}")
        raise RunError(f"{role}: {text}") from error
    except UserError as error:
        key = str(error).removeprefix("data.")
        if role == "self-teacher" or not key.startswith(("training.", "train_limit:")):
            raise
        raise UserError(f"{role}.{key}") from None


def is_trained(context: Context) -> bool:
    """Return whether a run's live or self-teacher is there without training a network.

    Raises:
        UserError: If it cannot be made, or does not fit the data.
    """
    return all(is_network_trained(context, key) for key in context.teacher_settings)


def is_network_trained(context: Context, key: str) -> bool:
    """Return whether a network of a run's teacher is there without a training."""
    settings = context.teacher_settings[key]
    if settings.training is None:
        return True
    network = context.teacher_network(key).module
    return context.shared.once(
        ("trained folder", key, context.teacher_key),
        lambda: trained_folder(context.recipe, settings, network, context.data),
    ).is_dir()


def teacher_data(context: Context, key: str) -> Data:
    """Return what a network of a run's teacher is trained on, loaded once for all runs of the process.

    Raises:
        UserError: If it cannot be loaded.
    """
    settings = context.teacher_settings[key]
    return context.shared.once(
        ("teacher data", key, context.teacher_key), lambda: training_data(context.recipe, settings, context.data)
    )
