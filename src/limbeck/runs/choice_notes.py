"""What a comparison's table reports of choices: which epoch a figure is of, and what was chosen on what."""

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.data import Data
from limbeck.tasks import Metric
from limbeck.training import TrainingSettings


def choice_notes(
    training: TrainingSettings, metric: Metric, data: Data, summaries: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[str, ...]:
    """Return which epoch's figures a table has, and what was chosen on the validation split, a line each.

    Args:
        training: The settings of the students' trainings.
        metric: The task's primary metric.
        data: The data.
        summaries: What the complete runs of each method reported, in the order of the seeds.

    Example:
        >>> from limbeck.data import load
        >>> data = load("fashion_mnist_sample", train_limit=100, validation=0.2)
        >>> settings, metric = TrainingSettings(keep="best"), Metric("accuracy", "accuracy")
        >>> for line in choice_notes(settings, metric, data, {"kd": [{"chosen_epoch": 7}, {"chosen_epoch": 9}]}):
        ...     print(line)
        figures of the epoch with the best validation accuracy, on all 5,000 test images, which nothing was chosen on
        epochs kept by accuracy on 2,000 validation images, seed by seed: kd 7, 9
    """
    tested, chosen_on = f"all {len(data.test):,} test {data.unit}", "which nothing was chosen on"
    notes = [f"figures of {_epoch(training, metric)} on {tested}, {chosen_on}"]
    if data.validation is None:
        return tuple(notes)
    judged = f"{metric.title} on {len(data.validation):,} validation {data.unit}, seed by seed"
    if training.keep == "best":
        notes.append(f"epochs kept by {judged}: {_by_seed(summaries, 'chosen_epoch')}")
    if training.patience is not None:
        rule = f"ended by {training.patience} evaluations without a gain in {judged} after epoch"
        notes.append(f"trainings of at most {training.epochs} epochs, {rule}: {_by_seed(summaries, 'epoch')}")
    if training.temperature_scaling:
        scaled = f"one temperature a student, fitted by NLL on {len(data.validation):,} validation {data.unit}"
        notes.append(f"scaled: logits divided by {scaled}, seed by seed: {_by_seed(summaries, 'temperature')}")
    return tuple(notes)


def _epoch(training: TrainingSettings, metric: Metric) -> str:
    if training.keep == "best":
        return f"the epoch with the best validation {metric.title},"
    return "the last epoch" if training.patience is None else "the epoch after which a training ended,"


def _by_seed(summaries: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> str:
    found = {name: [summary[key] for summary in several if key in summary] for name, several in summaries.items()}
    return "; ".join(f"{name} {', '.join(map(_short, values))}" for name, values in found.items() if values)


def _short(value: float) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
