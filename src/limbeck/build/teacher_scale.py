"""Measure what a run's method has to know of its teacher before the first epoch: the temperature of ``tame``."""

from collections.abc import Callable

from limbeck.build.data import Loaders
from limbeck.build.measured_teacher import training_slice
from limbeck.distiller import Distiller
from limbeck.randomness.seeding import generators_kept
from limbeck.reporting import Log

# More samples change the mean confidence by less than what it is rounded to in a log.
MEASURED_SAMPLES = 10_000


def measuring_callback(distiller: Distiller, loaders: Loaders, log: Log) -> Callable[[int], None]:
    """Return what an engine calls before each epoch: before the first one it measures the teacher.

    The samples are the same 10,000 at most for every seed. A resumed training has the numbers in its checkpoint.

    Args:
        distiller: Its method has numbers that follow from the teacher; receives them.
        loaders: The run's data.
        log: Called with a line about what was measured.

    Returns:
        A function of the epoch.
    """
    split = training_slice(loaders.data.train, MEASURED_SAMPLES)

    def before_epoch(epoch: int) -> None:
        if epoch:
            return
        views = loaders.unaugmented(split, batch_size=loaders.training.batch_size)
        with generators_kept(), loaders.fabric.autocast():
            figures = distiller.measure_teacher(views.epoch(0))
        log(_line(figures, f"{len(split):,} training {loaders.data.unit}"))

    return before_epoch


def _line(figures: dict[str, float], measured: str) -> str:
    confidence = 100 * figures["tame.confidence"]
    divided = f"the teacher's logits are divided by {figures['tame.temperature']:.4g}"
    return f"tame: {divided} (mean confidence {confidence:.2f} % on {measured})"
