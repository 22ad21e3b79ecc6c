"""Measure what a run's method has to know of its teacher before the first epoch: for ``tame``, and for ``weigh``."""

from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from limbeck.build.context import Context
from limbeck.build.data import Loaders
from limbeck.build.measured_teacher import training_positions
from limbeck.build.networks import placed
from limbeck.build.proxies import first_half, has_proxies, trained_proxies
from limbeck.build.reporting import Reporting
from limbeck.data.batch import Batch
from limbeck.distiller import Distiller
from limbeck.randomness.seeding import generators_kept
from limbeck.ranks import first_goes_ahead
from limbeck.reporting import Log
from limbeck.selection import RELIABLE

# The standard error of a share of so many samples is at most half a percent.
MEASURED_SAMPLES = 10_000
_OF_TEACHER = ("tame.confidence", "tame.max_confidence")


def measuring_callback(
    context: Context, distiller: Distiller, loaders: Loaders, reporting: Reporting
) -> Callable[[int], None]:
    """Return what an engine calls before each epoch: before the first one it measures the teacher.

    The samples are the same 10,000 at most for every seed; all of them where each has its own weight. Runs of one
    process that differ in their seed alone measure once, and a resumed training has the numbers in its checkpoint.

    Args:
        context: The run.
        distiller: Its method has numbers that follow from the teacher; receives them.
        loaders: The run's data.
        reporting: Where a line about what was measured, and the progress of the proxies' training, go.

    Returns:
        A function of the epoch.
    """

    def before_epoch(epoch: int) -> None:
        if epoch:
            return
        done = context.shared.once(_key(context), lambda: _measured(context, distiller, loaders, reporting))
        distiller.teacher_scale.load_state_dict(done.state)
        where, of_labels = f"on {done.samples:,} training {loaders.data.unit}", context.source not in ("live", "self")
        # Methods that share what was measured differ in what they use of it.
        of_method = distiller.teacher_scale.figures()
        figures = {**{key: value for key, value in done.figures.items() if key in _OF_TEACHER}, **of_method}
        _log(figures, where, reporting.log, of_labels=of_labels)
        for line in () if of_labels else _warnings(figures):
            reporting.log(f"warning: {line}")

    return before_epoch


class _Done(NamedTuple):
    """What was measured: the state of a teacher's scale, its figures, and on how many samples."""

    state: dict[str, Any]
    figures: dict[str, float]
    samples: int


def _warnings(figures: dict[str, float]) -> tuple[str, ...]:
    # Letters, teachers from 20, 40 and 60 % wrong labels, lambda .69, .28 and .08: kd, weight auto -1.1, -.4 and 0
    # points from no teacher, lr_ds -.5, 0 and 0. Banking77, 30 classes exchanged, T = 1: kd -.5, lr_ds -2.4. On
    # Fashion-MNIST with lambda .77 both gained.
    if figures.get("weigh.share", 1.0) >= RELIABLE and figures.get("weigh.temperature") != 1:
        return ()
    return ("students of such teachers ended up to 2.4 points below no teacher (docs/claims.md): compare none",)


def _key(context: Context) -> Hashable:
    method, recipe = context.method, context.recipe
    # A lightweight teacher is made for each seed, and shuffled weights are permuted by it.
    by_seed = context.source == "lightweight" or (method.weighing is not None and method.weighing.shuffled)
    settings = (method.taming, method.weighing, method.corrects)
    return "scale", context.teacher_key, *settings, recipe.seed if by_seed else None


def _measured(context: Context, distiller: Distiller, loaders: Loaders, reporting: Reporting) -> _Done:
    places = _measured_places(distiller, len(loaders.data.train))
    with generators_kept():
        options = _proxies(context, loaders, reporting)
        with loaders.fabric.autocast():
            figures = distiller.measure_teacher(_batches(loaders, places), **options)
    return _Done(distiller.teacher_scale.state_dict(), figures, len(places))


def _measured_places(distiller: Distiller, samples: int) -> Tensor:
    weighing = distiller.method.weighing
    by_row = weighing is not None and weighing.by_row
    return training_positions(samples, samples if by_row else MEASURED_SAMPLES)


def _batches(loaders: Loaders, places: Tensor) -> Iterator[Batch]:
    """Yield the samples at some positions of the training set, with these positions."""
    train = loaders.data.train
    # A selection is a copy, of which a large set in memory needs none.
    split = train if len(places) == len(train) else train.select(places)
    views = loaders.unaugmented(split, batch_size=loaders.training.batch_size)
    for batch in views.epoch(0):
        assert batch.indices is not None
        yield batch._replace(indices=places.to(batch.indices.device)[batch.indices])


def _proxies(context: Context, loaders: Loaders, reporting: Reporting) -> dict[str, Any]:
    if not has_proxies(context.recipe):
        return {}
    # They are trained by the first of several processes, and read by the others.
    with first_goes_ahead():
        trained = trained_proxies(context, reporting)
    proxies: list[nn.Module] = [placed(proxy, loaders.training, loaders.fabric.device) for proxy in trained]
    return {"proxies": proxies, "half": first_half(context.recipe, context.data)}


def _log(figures: dict[str, float], where: str, log: Log, *, of_labels: bool) -> None:
    if "tame.confidence" in figures:
        tau = figures["tame.temperature"]
        divided = f"the teacher's logits are divided by {tau:.4g}" if tau != 1 else "the teacher stays as it is"
        figure, most = (100 * figures[f"tame.{key}"] for key in ("confidence", "max_confidence"))
        log(f"tame: {divided} (mean confidence {figure:.2f} % {where}, expected at most {most:.2f} %)")
    if of_labels and "weigh.share" in figures:
        log("weigh: the teacher's logits depend on the labels, so that its losses have their full weight")
    elif "weigh.share" in figures:
        explained = f"the teacher explains {100 * figures['weigh.share']:.2f} % of the labels better than a student"
        counted = f"its losses have {figures['weigh.weight']:.4g} of their full weight"
        counted += f", at T = {figures['weigh.temperature']:g}" if "weigh.temperature" in figures else ""
        log(f"weigh: {explained} without it ({where}); {counted}")
