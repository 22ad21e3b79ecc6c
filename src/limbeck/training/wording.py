"""The names of a training's figures, and how they are written."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from limbeck.tasks import Metric


class Wording(NamedTuple):
    """What a training measures, and the name of its samples.

    Attributes:
        metrics: The task's metrics; the first is the one that networks are compared by.
        unit: The name of the samples, in the plural.

    Example:
        >>> Wording((Metric("error", "error rate"),)).unit
        'samples'
    """

    metrics: tuple[Metric, ...] = ()
    unit: str = "samples"

    def parts(self, means: Mapping[str, float]) -> dict[str, float]:
        """Return the parts of a training's loss, without their sum and the figures beside them.

        Example:
            >>> Wording((Metric("accuracy", "accuracy"),)).parts({"loss": 3.0, "ce": 1.0, "kd": 2.0, "accuracy": 0.5})
            {'ce': 1.0, 'kd': 2.0}
        """
        figures = {"loss", *(metric.name for metric in self.metrics)}
        return {name: value for name, value in means.items() if name not in figures}

    def figures(self, means: Mapping[str, float]) -> Iterator[tuple[Metric, float]]:
        """Yield the metrics that a training reports, each with its value; the loss is none of them.

        Example:
            >>> wording = Wording((Metric("accuracy", "accuracy"), Metric("loss", "NLL")))
            >>> [(metric.title, value) for metric, value in wording.figures({"loss": 1.0, "accuracy": 0.5})]
            [('accuracy', 0.5)]
        """
        return ((m, means[m.name]) for m in self.metrics if m.name in means and m.name != "loss")


def epoch_line(row: Mapping[str, float], epochs: int, wording: Wording) -> str:
    """Write the figures of an epoch in one line: of the splits the primary metric.

    Args:
        row: A row of the engine's record.
        epochs: The number of epochs.
        wording: The training's.

    Example:
        >>> row = {"epoch": 1, "train.loss": 0.5, "train.accuracy": 0.9, "samples_per_second": 99, "seconds": 2}
        >>> epoch_line(row, 3, Wording((Metric("accuracy", "accuracy"),), "images"))
        'epoch 1/3  loss 0.5000  train 90.00 %  99 images/s  2.0 s'
    """
    means = {name.removeprefix("train."): value for name, value in row.items() if name.startswith("train.")}
    line = [f"epoch {row['epoch']}/{epochs}", f"loss {means['loss']:.4f}"]
    parts = wording.parts(means)
    if len(parts) > 1:
        line.append("(" + " ".join(f"{name} {value:.4f}" for name, value in parts.items()) + ")")
    primary = wording.metrics[0] if wording.metrics else None
    for metric, value in wording.figures(means):
        line.append(f"train {metric.text(value)}" if metric is primary else f"{metric.title} {metric.text(value)}")
    for split in ("validation", "test"):
        if primary is not None and f"{split}.{primary.name}" in row:
            line.append(f"{split} {primary.text(row[f'{split}.{primary.name}'])}")
    return "  ".join([*line, f"{row['samples_per_second']:.0f} {wording.unit}/s", f"{row['seconds']:.1f} s"])
