"""Checks of a run that need no training."""

import copy

from torch import nn

from limbeck import models
from limbeck.build.by_parts import check_by_parts
from limbeck.build.caching import check_cache
from limbeck.build.choosing import check_choices, check_teacher_choices
from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.features import feature_arguments
from limbeck.build.labels import check_labels
from limbeck.build.network_checks import check_network, check_trains
from limbeck.build.networks import input_adapter
from limbeck.build.proxies import check_proxies
from limbeck.build.task import row_classes
from limbeck.build.teacher_settings import precision_by_network
from limbeck.distiller.features import FeaturePairs
from limbeck.errors import UserError
from limbeck.models.estimators.network import EstimatorNetwork
from limbeck.models.saving import check_storable
from limbeck.teachers import LiveTeacher
from limbeck.teachers.digits import check_num_classes, synthesize
from limbeck.training import build_optimizer, check_schedule, make_fabric


def check_run(context: Context, student: nn.Module) -> None:
    """Check networks, views, optimizer, layers, teacher and cache of a run.

    Args:
        context: The run.
        student: Its student, which stays as it is.

    Raises:
        UserError: If anything is wrong.

    Example:
        >>> from limbeck.recipes.loading import load_recipe
        >>> context = Context(load_recipe("quickstart", {"training.batch_size": 6000}))
        >>> check_run(context, context.student().module)
        Traceback (most recent call last):
        limbeck.errors.UserError: training.batch_size: got 6000, expected at most 2000 images
    """
    check_student(context, student)
    check_method(context, student)


def check_student(context: Context, student: nn.Module) -> None:
    """Check the student, and whether its training fits the data; the method does not count.

    Args:
        context: The run, or any of those that differ in method and seed alone.
        student: Its student, which stays as it is.

    Raises:
        UserError: If anything is wrong.
    """
    recipe, data, role = context.recipe, context.data, f"student {context.recipe.student.name}"
    check_choices(context)
    # A forward pass changes the copy alone.
    trial = copy.deepcopy(student)
    check_network(trial, data, context.task, role=role)
    check_trains(trial, data, context.task, role=role)
    check_storable(student, role)
    views = Loaders(data, recipe.data, recipe.training, make_fabric(recipe.training), recipe.seed).for_student()
    check_schedule(recipe.training.schedule, epochs=recipe.training.epochs, steps=len(views))
    build_optimizer(student.parameters(), recipe.training.optimizer)


def check_method(context: Context, student: nn.Module) -> None:
    """Check what a run's method needs: teacher, layers, cache and the selection's head.

    Args:
        context: The run.
        student: The student of any run that differs in method and seed alone; it stays as it is.

    Raises:
        UserError: If anything is wrong.
    """
    _check_teacher(context)
    _check_features(context, student)
    check_labels(context)
    check_by_parts(context, student)
    check_cache(context)
    context.method.check(row_classes(context.task, context.data))
    check_proxies(context.recipe, context.data)
    selection = context.method.selection
    if selection is not None and selection.needs_training_set:
        if context.task.several_rows:
            got = f"got {selection.scorer!r}, which needs samples of one row each"
            expected = f"expected random, agreement, confidence or el2n for task {context.task.name!r}"
            raise UserError(f"method {context.method.name!r}: scorer: {got}, {expected}")
        models.head(student, len(context.data.classes))


def _check_teacher(context: Context) -> None:
    precision_by_network(context.recipe)
    if context.source == "live":
        for key in context.teacher_settings:
            context.teacher_network(key)
        check_teacher_choices(context)
    if context.source == "lightweight":
        check_num_classes(row_classes(context.task, context.data))
        synthesize(2, 1, source=context.recipe.teacher.lightweight.source)


def _check_features(context: Context, student: nn.Module) -> None:
    recipe, method, source = context.recipe, context.method, context.source
    terms = [term for term in method.terms if term.features]
    if not terms:
        return
    if source not in ("live", "self") or recipe.teacher.members:
        got = "several" if recipe.teacher.members else f"a {source} teacher"
        raise UserError(f"method {method.name!r}: compares features, needs one network as teacher, got {got}")
    # A self-teacher has the student's structure.
    network = student if source == "self" else context.teacher_network("teacher").module
    if isinstance(network, EstimatorNetwork):
        raise UserError(
            f"method {method.name!r}: compares features, and a {network.label} has none, expected a network"
        )
    adapter = input_adapter(recipe.teacher, context.data) if source == "live" else None
    arguments = {**feature_arguments(recipe, context.data), "num_samples": 1}
    teacher = LiveTeacher(copy.deepcopy(network), adapter=adapter)
    feature_pairs = FeaturePairs(method, copy.deepcopy(student), teacher, **arguments)
    for term in terms:
        feature_pairs.build(term)
