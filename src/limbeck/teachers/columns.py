"""The logits of the classes that a student learns, from the columns of a network with other classes."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from limbeck.errors import UserError, shortened, unknown_name
from limbeck.models.calling import output_logits
from limbeck.rows import full

Columns = int | Sequence[int]
"""The columns of one class: one, or several."""
_EXPECTED = "expected a column, from 0, or a list of columns"
_NO_COLUMN = -1


class ClassColumns(nn.Module):
    """Choose the columns of a network's logits that are the student's classes, in their order.

    An ImageNet network teaches ten classes by ten of its thousand columns. A class of several columns, such as the
    breeds of "dog", gets their log-sum-exp, so that the softmax over the classes is the network's own probability of
    each class, given that it is one of them. It stands behind the network in an ``nn.Sequential``, or
    :class:`limbeck.teachers.LiveTeacher` takes it as ``columns=``, for networks of any inputs.

    Args:
        columns: The columns of each class, from 0.

    Raises:
        UserError: If there are none, or one is no column or stands twice; when called, if the output is no (N, K, ...)
            logits, or has fewer columns.

    References:
        Ours.

    Example:
        >>> logits = torch.tensor([[1., 2., 3., 0.]])
        >>> ClassColumns([2, 0])(logits)
        tensor([[3., 1.]])
        >>> ClassColumns([[1, 2], 0])(logits)
        tensor([[3.3133, 1.0000]])
    """

    columns: Tensor

    def __init__(self, columns: Sequence[Columns]) -> None:
        super().__init__()
        listed = _listed(columns)
        self._set(listed, [f"class {place}" for place in range(len(listed))])

    @classmethod
    def named(cls, columns: Mapping[str, Columns] | Sequence[Columns], classes: Sequence[str]) -> Self:
        """Make it for classes by their names.

        Args:
            columns: The columns by class name, or those of each class in the order of ``classes``.
            classes: The names of the student's classes, in the order of the labels.

        Raises:
            UserError: If a class is unknown, or has no columns.

        Example:
            >>> ClassColumns.named({"tench": 0, "church": 497}, ["church", "tench"]).columns.tolist()
            [[497], [0]]
        """
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made._set(_in_order(columns, classes), [f"class {shortened(name)}" for name in classes])
        return made

    def _set(self, columns: Sequence[Columns], names: Sequence[str]) -> None:
        groups = [_group(entry, name) for entry, name in zip(columns, names, strict=True)]
        if not groups:
            raise UserError("columns: got none, expected a column for each class")
        _check_distinct(groups, names)
        self._highest, self._whose = max((max(group), name) for group, name in zip(groups, names, strict=True))
        width = max(map(len, groups))
        table = torch.tensor([[*group, *[_NO_COLUMN] * (width - len(group))] for group in groups])
        self.register_buffer("columns", table, persistent=False)

    def forward(self, output: Any) -> Tensor:
        """Return (N, C, ...) logits of the classes for (N, K, ...) logits, or an output that holds them.

        Sums over several columns are computed, and returned, in at least float32.
        """
        logits = output_logits(output)
        if logits.ndim < 2:
            raise UserError(f"the output: got shape {tuple(logits.shape)}, expected (N, K, ...) logits")
        count = logits.shape[1]
        if self._highest >= count:
            got = f"{self._whose}: got column {self._highest}, but the output has {count}"
            raise UserError(f"{got}, expected at most column {count - 1}")
        # A network that was on its device before the columns stood behind it does not take them there.
        columns = self.columns.to(logits.device)
        classes, width = columns.shape
        if width == 1:
            return logits.index_select(1, columns[:, 0])
        chosen = full(logits).index_select(1, columns.clamp_min(0).flatten())
        chosen = chosen.reshape(len(logits), classes, width, *logits.shape[2:])
        missing = (columns == _NO_COLUMN).view(classes, width, *[1] * (logits.ndim - 2))
        return chosen.masked_fill(missing, -torch.inf).logsumexp(dim=2)


def _listed(columns: Any) -> Sequence[Columns]:
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise UserError(f"columns: got {shortened(columns)}, expected a list with an entry for each class")
    return columns


def _in_order(columns: Any, classes: Sequence[str]) -> Sequence[Columns]:
    if isinstance(columns, Mapping):
        for name in columns:
            if name not in classes:
                raise unknown_name("class", name, classes)
        missing = next((name for name in classes if name not in columns), None)
        if missing is not None:
            expected = f"expected one for each of the {len(classes)} classes"
            raise UserError(f"class {shortened(missing)}: has no column, {expected}")
        return [columns[name] for name in classes]
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise UserError(f"got {shortened(columns)}, expected columns by class name, or a list of them")
    if len(columns) != len(classes):
        order = shortened(", ".join(classes), quoted=False)
        raise UserError(f"got {len(columns)} columns, expected {len(classes)}, one for each class in the order {order}")
    return columns


def _group(entry: object, name: str) -> tuple[int, ...]:
    columns = tuple(entry) if isinstance(entry, list | tuple) else (entry,)
    for column in columns:
        if isinstance(column, bool) or not isinstance(column, int) or column < 0:
            raise UserError(f"{name}: got {shortened(column)}, {_EXPECTED}")
    if not columns:
        raise UserError(f"{name}: got [], {_EXPECTED}")
    return columns


def _check_distinct(groups: Sequence[tuple[int, ...]], names: Sequence[str]) -> None:
    owners: dict[int, str] = {}
    for group, name in zip(groups, names, strict=True):
        for column in group:
            if column in owners:
                both = f"for {owners[column]} and {name}" if owners[column] != name else f"twice for {name}"
                got = f"column {column}: got it {both}"
                raise UserError(f"{got}, expected each column once")
            owners[column] = name
