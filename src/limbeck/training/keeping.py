"""Which epoch's network a training keeps, and when it ends: choices by the validation split alone."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from limbeck.errors import RunError, UserError
from limbeck.tasks import Metric, Task
from limbeck.training.settings import TrainingSettings

EpochRecord = dict[str, float]
SPLIT = "validation"
"""The name of the split that choices are made on."""


def best_position(values: Sequence[float], *, higher_is_better: bool) -> int:
    """Return where the best of some figures is, the first of equal ones.

    Args:
        values: At least one figure.
        higher_is_better: The metric's direction.

    Example:
        >>> best_position([0.5, 0.7, 0.7], higher_is_better=True), best_position([2.0, 3.0], higher_is_better=False)
        (1, 0)
    """
    return values.index(max(values) if higher_is_better else min(values))


def without_gain(values: Sequence[float], *, higher_is_better: bool, min_gain: float = 0.0) -> int:
    """Count the figures since the last one that was better than all before it by more than ``min_gain``.

    A figure that is better by less counts as none, and the next one is compared to what it was compared to.

    Args:
        values: The figures in their order.
        higher_is_better: The metric's direction.
        min_gain: What a gain has to exceed.

    Example:
        >>> without_gain([0.5, 0.7, 0.7, 0.6], higher_is_better=True)
        2
        >>> without_gain([0.50, 0.51, 0.52, 0.53], higher_is_better=True, min_gain=0.02)
        0
        >>> without_gain([0.50, 0.51, 0.52, 0.53], higher_is_better=True, min_gain=0.05)
        3
    """
    waited, reference = 0, None
    for value in values if higher_is_better else [-value for value in values]:
        if reference is None or value > reference + min_gain:
            waited, reference = 0, value
        else:
            waited += 1
    return waited


def check_choosing(settings: TrainingSettings, metric: Metric, data: str | None, key: str = "training") -> None:
    """Check that what a training chooses on a validation split can be chosen.

    Args:
        settings: The training.
        metric: The task's primary metric.
        data: The name of data without a validation split; None where there is one.
        key: What begins the keys in messages.

    Raises:
        UserError: If there is no validation split, or the metric has no direction.

    Example:
        >>> check_choosing(TrainingSettings(keep="best"), Metric("accuracy", "accuracy"), "cifar10")
        Traceback (most recent call last):
        limbeck.errors.UserError: training.keep: got best, but cifar10 has no validation split; expected data.validation
    """
    given = {
        "keep": "best" if settings.keep == "best" else None,
        "patience": settings.patience,
        "temperature_scaling": "true" if settings.temperature_scaling else None,
    }
    for name, value in given.items():
        if value is None:
            continue
        if data is not None:
            raise UserError(f"{key}.{name}: got {value}, but {data} has no validation split; expected data.validation")
        if metric.higher_is_better is None and name != "temperature_scaling":
            why = f"{metric.title}, by which it would be chosen, has no better or worse"
            raise UserError(f"{key}.{name}: got {value}, but {why}; expected keep: last without patience")


class Keeping:
    """Keeps the best network of a training so far, and decides whether the training ends early.

    Which epoch is the best, and how many evaluations were no gain, follows from the record, so that a training that is
    resumed with its record decides as one that never stopped.

    Args:
        settings: The training's settings.
        task: Its task; what is compared is the primary metric.
        splits: The names of the splits that are measured.

    Raises:
        UserError: If a choice is to be made without a split ``"validation"``, or the metric has no direction.

    Example:
        >>> from limbeck.tasks import Classification
        >>> keeping = Keeping(TrainingSettings(keep="best", patience=2), Classification(3), ["validation", "test"])
        >>> record = [{"epoch": n, "validation.accuracy": value} for n, value in ((1, 0.5), (2, 0.4), (3, 0.5))]
        >>> keeping.chosen(record)["epoch"], keeping.ends(record[:2]), keeping.ends(record)
        (1, False, True)
    """

    def __init__(self, settings: TrainingSettings, task: Task, splits: Collection[str]) -> None:
        if settings.chooses:
            check_choosing(settings, task.primary, None if SPLIT in splits else "the training")
        self.settings, self.metric = settings, task.primary
        self._key, self._weights = f"{SPLIT}.{task.primary.name}", dict[str, Tensor]()

    @property
    def _higher(self) -> bool:
        return self.metric.higher_is_better is not False

    def _measured(self, record: Sequence[EpochRecord]) -> list[EpochRecord]:
        return [row for row in record if self._key in row]

    def chosen(self, record: Sequence[EpochRecord]) -> EpochRecord:
        """Return the epoch that is kept: the last one, or the best one that was measured.

        Args:
            record: The record so far, of at least one epoch.

        Raises:
            RunError: If the best is to be kept, and no epoch has the figure.
        """
        if self.settings.keep == "last":
            return record[-1]
        rows = self._measured(record)
        if not rows:
            title = self.metric.title
            raise RunError(f"training.keep: the {SPLIT} split has no {title}, by which the best epoch is chosen")
        return rows[best_position([row[self._key] for row in rows], higher_is_better=self._higher)]

    def ends(self, record: Sequence[EpochRecord]) -> bool:
        """Return whether ``patience`` ends the training after the record's last epoch."""
        patience = self.settings.patience
        return patience is not None and self._waited(record) >= patience

    def _waited(self, record: Sequence[EpochRecord]) -> int:
        values = [row[self._key] for row in self._measured(record)]
        return without_gain(values, higher_is_better=self._higher, min_gain=self.settings.min_gain)

    def after_epoch(self, record: Sequence[EpochRecord], network: nn.Module) -> None:
        """Copy the network's weights to the CPU, if the record's last epoch is the best one and is to be kept."""
        if self.settings.keep == "best" and self._key in record[-1] and self.chosen(record) is record[-1]:
            self._weights = {name: value.detach().to("cpu", copy=True) for name, value in network.state_dict().items()}

    def restore(self, record: Sequence[EpochRecord], network: nn.Module) -> bool:
        """Load the weights that are kept into the network, unless it has them; return whether they were loaded."""
        if self.chosen(record) is record[-1]:
            return False
        network.load_state_dict(self._weights)
        return True

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside the record: the best weights, if the best are to be kept."""
        return {"best": self._weights} if self.settings.keep == "best" else {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take the best weights of a checkpoint."""
        if self.settings.keep == "best":
            self._weights = dict(state["best"])

    def lines(self, record: Sequence[EpochRecord]) -> list[str]:
        """Return what was chosen on the validation split, in lines for a log; none where nothing is chosen."""
        lines = []
        if self.ends(record) and len(record) < self.settings.epochs:
            reason = f"{self._waited(record)} evaluations without a better {SPLIT} {self.metric.title}"
            lines.append(f"training.patience: ended after epoch {len(record)} of {self.settings.epochs}: {reason}")
        if self.settings.keep == "best":
            row = self.chosen(record)
            figure = f"the best {SPLIT} {self.metric.title}, {self.metric.text(row[self._key])}"
            lines.append(f"training.keep: epoch {row['epoch']} of {len(record)} is kept, {figure}")
        return lines

    def summary(self, record: Sequence[EpochRecord]) -> dict[str, Any]:
        """Return what was chosen, for ``summary.json``; empty where nothing is chosen.

        ``chosen_epoch`` with ``keep: best``, ``stopped_early`` with ``patience``, and the figure that decided as
        ``chosen_by``.

        Args:
            record: The whole record.
        """
        if not self.settings.chooses:
            return {}
        found: dict[str, Any] = {"chosen_by": f"{SPLIT} {self.metric.title}"}
        if self.settings.keep == "best":
            found["chosen_epoch"] = int(self.chosen(record)["epoch"])
        if self.settings.patience is not None:
            found["stopped_early"] = self.ends(record) and len(record) < self.settings.epochs
        return found
