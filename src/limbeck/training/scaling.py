"""Temperature scaling of a trained network: fitted on the validation split, reported before and after."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.data.batch import Batch, Epochs
from limbeck.distiller.modes import evaluating
from limbeck.randomness.hashing import random_bits
from limbeck.rows import Rows, ground_truth
from limbeck.tasks import Metric
from limbeck.training.calibration import Calibration
from limbeck.training.engine import Engine
from limbeck.training.keeping import SPLIT
from limbeck.training.temperature import HIGHEST, LOWEST, fit_temperature

SCALED_METRICS = (
    Metric("scaled.ece", "ECE scaled", higher_is_better=False),
    Metric("scaled.loss", "NLL scaled", higher_is_better=False, share=False),
)
_ECE = Metric("ece", "ECE", higher_is_better=False)
# A temperature is one number: more rows of a map would not change it.
_ROWS_OF_A_SAMPLE = 1024
_STREAM = 403


def with_scaled(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    """Return a task's metrics and those of its scaled students, with the calibration error before scaling.

    Example:
        >>> [metric.name for metric in with_scaled((Metric("map", "mAP"), Metric("loss", "NLL")))]
        ['map', 'loss', 'ece', 'scaled.ece', 'scaled.loss']
    """
    before = () if any(metric.name == _ECE.name for metric in metrics) else (_ECE,)
    return *metrics, *before, *SCALED_METRICS


@dataclass(frozen=True)
class Scaling:
    """A network's temperature, and what it changes.

    Attributes:
        temperature: What the logits are divided by.
        rows: On how many labeled rows it was fitted.
        before: Loss and calibration error at temperature 1, by split: ``"validation"`` and ``"test"``.
        after: The same at the temperature.

    Example:
        >>> figures = {"validation": {"loss": 0.5, "ece": 0.1}, "test": {"loss": 0.6, "ece": 0.1}}
        >>> scaling = Scaling(1.5, 200, figures, {split: {"loss": 0.4, "ece": 0.02} for split in figures})
        >>> print(scaling.line)
        temperature 1.500, fitted on 200 validation rows; test NLL 0.600 -> 0.400, ECE 10.00 % -> 2.00 %
    """

    temperature: float
    rows: int
    before: Mapping[str, Mapping[str, float]]
    after: Mapping[str, Mapping[str, float]]

    @property
    def line(self) -> str:
        """The temperature, and the figures of the test split before and after."""
        before, after = self.before["test"], self.after["test"]
        nll = f"NLL {before['loss']:.3f} -> {after['loss']:.3f}"
        ece = f"ECE {_ECE.text(before['ece'])} -> {_ECE.text(after['ece'])}"
        return f"temperature {self.temperature:.3f}, fitted on {self.rows:,} {SPLIT} rows; test {nll}, {ece}"

    @property
    def warning(self) -> str | None:
        """What is wrong with a temperature at its bound; None for any other."""
        if LOWEST < self.temperature < HIGHEST:
            return None
        why = (
            "all rows of the split are right" if self.temperature == LOWEST else "the logits are no better than chance"
        )
        return f"the temperature is at its bound {self.temperature:g}, as {why}; a larger data.validation may help"

    def summary(self) -> dict[str, float]:
        """Return what ``summary.json`` holds: ``temperature``, and the figures after as ``test.scaled.loss``.

        The figures before are the task's own (``test.loss``); ``test.ece`` is added for tasks that have none.
        """
        found: dict[str, float] = {"temperature": self.temperature, "temperature.rows": self.rows}
        for split, figures in self.after.items():
            found |= {f"{split}.ece": self.before[split]["ece"]}
            found |= {f"{split}.scaled.{name}": value for name, value in figures.items()}
        return found


@torch.no_grad()
def scale(engine: Engine) -> Scaling:
    """Fit the temperature of a trained engine's network on its validation split, and measure what it changes.

    Of a sample of many rows, such as a map, about 1,024 of the validation split are drawn, the same ones each time.

    Args:
        engine: After :meth:`Engine.fit`, with the splits ``"validation"`` and ``"test"``.

    Returns:
        The temperature, and loss and calibration error before and after: on the validation split of the drawn rows, on
        the test split of all.

    Raises:
        UserError: If no row of the validation split is labeled.
    """
    pieces = [_drawn(rows) for rows in _labeled(engine, SPLIT)]
    logits, labels = (torch.cat(column) for column in zip(*pieces, strict=True))
    temperature = fit_temperature(logits, labels)
    figures = {
        SPLIT: _figures(((piece.logits, piece.labels) for piece in pieces), temperature),
        "test": _figures(((rows.logits, rows.labels) for rows in _labeled(engine, "test")), temperature),
    }
    before, after = ({split: pair[place] for split, pair in figures.items()} for place in (0, 1))
    return Scaling(temperature, len(logits), before, after)


class _Labeled(NamedTuple):
    logits: Tensor
    labels: Tensor


def _labeled(engine: Engine, split: str) -> Iterator[Rows]:
    """Yield the labeled rows of a split as the figures count them, on the CPU."""
    network, task, source = engine.network, engine.task, engine.splits[split]
    with evaluating(network):
        for batch in map(Batch.of, source.epoch(0) if isinstance(source, Epochs) else source):
            moved = batch.to(engine.fabric.device)
            with engine.fabric.autocast():
                output = task.call(network, moved.inputs)
            yield from map(_of_labeled, task.measured_rows(output, moved.targets))


def _of_labeled(rows: Rows) -> Rows:
    logits = rows.logits.float().cpu()
    truth = ground_truth(None if rows.labels is None else rows.labels.cpu(), logits)
    kept = slice(None) if truth.labeled is None else truth.labeled
    return Rows(logits[kept], truth.labels[kept], None, None if rows.sample is None else rows.sample.cpu()[kept])


def _drawn(rows: Rows) -> _Labeled:
    """Return about ``_ROWS_OF_A_SAMPLE`` rows of each sample that has more."""
    assert rows.labels is not None
    if rows.sample is None or not len(rows.logits):
        return _Labeled(rows.logits, rows.labels)
    drawn = random_bits(torch.arange(len(rows.logits)), seed=0, epoch=0, stream=_STREAM).double() / 2**63
    kept = drawn * rows.sample.bincount()[rows.sample] < _ROWS_OF_A_SAMPLE
    return _Labeled(rows.logits[kept], rows.labels[kept])


def _figures(
    pieces: Iterable[tuple[Tensor, Tensor | None]], temperature: float
) -> tuple[dict[str, float], dict[str, float]]:
    before, after = Calibration(), Calibration(temperature)
    for logits, labels in pieces:
        before.add(logits, labels)
        after.add(logits, labels)
    return before.figures(), after.figures()
