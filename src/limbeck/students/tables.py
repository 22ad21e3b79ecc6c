"""Raw rows of a table to the inputs of a student."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from limbeck.data.tables.preparation import Preparation, prepare
from limbeck.errors import UserError, shortened
from limbeck.students.made import Made, Skipped


@dataclass(frozen=True, eq=False)
class TablePreparation:
    """Standardizes and encodes rows.

    Args:
        fitted: The numbers, of the training rows.

    Example:
        >>> from limbeck.data.tables.columns import table_of
        >>> fitted = Preparation.fitted(table_of({"size": [0.0, 4.0]}), [])
        >>> next(TablePreparation(fitted).batches([{"size": 3.0}], 8)).inputs
        tensor([[0.5000]])
    """

    unit: ClassVar[str] = "rows"

    fitted: Preparation

    @classmethod
    def of(cls, about: Mapping[str, Any], where: str) -> "TablePreparation":
        """Make the preparation that a file's metadata describe.

        Raises:
            UserError: If an entry is missing.
        """
        try:
            return cls(Preparation.from_json(about))
        except UserError as error:
            raise UserError(f"{where}: {error}") from None

    def samples(self, given: Any) -> Tensor:
        """Return the inputs of raw rows.

        Args:
            given: The path of a file, a data frame of pandas, a mapping of columns, or a list of rows, each a mapping
                of its cells; the column of the labels may be missing. What this returned is returned as it is.

        Raises:
            UserError: If it is something else, a column is missing, or a cell cannot be used.
        """
        if isinstance(given, Tensor) and given.dtype == torch.float32 and tuple(given.shape[1:]) == self.fitted.shape:
            return given
        if isinstance(given, list | tuple):
            given = self._columns(given)
        elif not isinstance(given, str | Path | Mapping) and not hasattr(given, "columns"):
            expected = "expected rows: a file, a data frame, a mapping of columns, or a list of mappings"
            raise UserError(f"samples: got {shortened(given)}, {expected}")
        return prepare(given, self.fitted.as_json())

    def _columns(self, rows: Sequence[Any]) -> dict[str, list[Any]]:
        for number, row in enumerate(rows, 1):
            if not isinstance(row, Mapping):
                raise UserError(f"samples: row {number}: got {shortened(row)}, expected a mapping of its cells")
        names = list(dict.fromkeys(name for row in rows for name in row))
        return {name: [row.get(name) for row in rows] for name in names}

    def batches(self, given: Any, batch_size: int, skipped: Skipped | None = None) -> Iterator[Made]:  # noqa: ARG002
        """Yield inputs, float32 (N, F) or (N, C, L); see :class:`limbeck.students.made.Preparation`.

        No row is skipped: a cell that cannot be used is an error.
        """
        inputs = self.samples(given)
        for start in range(0, len(inputs), batch_size):
            part = inputs[start : start + batch_size]
            yield Made(part, list(range(start, start + len(part))))
