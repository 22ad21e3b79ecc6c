"""Whether two run folders hold the same numbers: metrics epoch by epoch, weights, predictions and summary."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from limbeck.errors import shortened

# What no two runs have in common.
_TIMES = frozenset({"seconds", "samples_per_second"})
# Of the machine, which is compared as provenance; how a run came to its length is not in its recipe.
_OF_THE_MACHINE = frozenset({"threads", "device", "precision", "training.extended_from"})


@dataclass(frozen=True)
class Difference:
    """One value that differs.

    Attributes:
        where: Such as ``"epoch 3"`` or ``"summary.json"``.
        name: Of the figure or tensor.
        before: Its value in the first folder, or of the tensor's first value that differs.
        now: That in the second.

    Example:
        >>> print(Difference("epoch 1", "train.loss", 0.25, 0.5).text)
        epoch 1, train.loss: 0.25, now 0.5 (0.25 apart)
    """

    where: str
    name: str
    before: Any
    now: Any

    @property
    def text(self) -> str:
        """Place, values, and how far they are apart where they are numbers."""
        shown, other = (shortened(value, 60, quoted=False) for value in (self.before, self.now))
        distance = f" ({abs(self.before - self.now):.3g} apart)" if self._numbers else ""
        return f"{self.where}, {self.name}: {shown}, now {other}{distance}"

    @property
    def _numbers(self) -> bool:
        return all(isinstance(value, int | float) and value is not True for value in (self.before, self.now))


@dataclass(frozen=True)
class Kind:
    """The values of one kind that two folders have.

    Attributes:
        name: Such as ``"figures"``.
        count: How many were compared.
        differing: Those that differ, the earliest first.
        left_out: What only one of the folders has, a line each.
    """

    name: str
    count: int
    differing: tuple[Difference, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class SameNumbers:
    """What a comparison of two run folders found.

    Attributes:
        kinds: Figures of the epochs, weights, predictions and figures of the summary, in this order.

    Example:
        >>> found = SameNumbers((Kind("figures", 3, ()), Kind("weights", 2, ())))
        >>> found.equal, found.counted
        (True, '3 figures and 2 weights')
    """

    kinds: tuple[Kind, ...]

    @cached_property
    def first(self) -> Difference | None:
        """The first difference: the earliest epoch's, else that of the weights, the predictions or the summary."""
        return next((difference for kind in self.kinds for difference in kind.differing), None)

    @property
    def equal(self) -> bool:
        """Whether every value that was compared is the same, and there was one."""
        return self.first is None and any(kind.count for kind in self.kinds)

    @property
    def counted(self) -> str:
        """How many values of each kind were compared."""
        return _joined([f"{count:,} {name}" for name, (count, _) in self._by_name().items() if count])

    @property
    def counted_differing(self) -> str:
        """How many values of each kind differ."""
        counts = self._by_name()
        return _joined([f"{wrong:,} of {count:,} {name}" for name, (count, wrong) in counts.items() if wrong])

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was not compared, a line each."""
        return tuple(line for kind in self.kinds for line in kind.left_out)

    def _by_name(self) -> dict[str, tuple[int, int]]:
        counts: dict[str, tuple[int, int]] = {}
        for kind in self.kinds:
            count, wrong = counts.get(kind.name, (0, 0))
            counts[kind.name] = count + kind.count, wrong + len(kind.differing)
        return counts


def _joined(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def compare_numbers(before: Path, now: Path) -> SameNumbers:
    """Compare the numbers of two run folders, bit for bit; times and facts about the machine are left out.

    Args:
        before: The folder of a run.
        now: The folder of another one.

    Example:
        >>> compare_numbers(Path("nowhere"), Path("nowhere")).equal
        False
    """
    return SameNumbers(
        (
            _compared("metrics.csv", "figures", _metrics, before, now),
            _compared("student.safetensors", "weights", _tensors, before, now),
            _compared("predictions.safetensors", "tables of predictions", _tensors, before, now),
            _compared("summary.json", "figures", _summary, before, now),
        )
    )


# The values of a file by their place and name.
_Values = Mapping[tuple[str, str], Any]


def _compared(file: str, name: str, read: Callable[[Path], _Values], before: Path, now: Path) -> Kind:
    values = []
    for folder in (before, now):
        try:
            values.append(read(folder / file))
        except (OSError, ValueError, SafetensorError):
            return Kind(name, 0, (), (f"{folder / file} is missing or damaged, so it is not compared",))
    first, second = values
    common = [key for key in first if key in second]
    differing = tuple(_difference(*key, first[key], second[key]) for key in common if _differ(first[key], second[key]))
    return Kind(name, len(common), differing, tuple(_alone(first, second, before / file, now / file)))


def _alone(first: _Values, second: _Values, before: Path, now: Path) -> Iterator[str]:
    for path, values, others in ((before, first, second), (now, second, first)):
        names = [", ".join(filter(None, key)) for key in values if key not in others]
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            yield f"{path} alone has {shortened(names[0], quoted=False)}{more}"


def _metrics(path: Path) -> _Values:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    named = ((f"epoch {row['epoch']}", name, cell) for row in rows for name, cell in row.items())
    return {(place, name): _number(cell) for place, name, cell in named if cell and name not in _TIMES | {"epoch"}}


def _number(cell: str) -> float:
    return float(cell)


def _summary(path: Path) -> _Values:
    values = json.loads(path.read_bytes())
    return {("summary.json", name): value for name, value in values.items() if not _is_of_the_machine(name)}


def _is_of_the_machine(name: str) -> bool:
    return name.rpartition(".")[2] in _TIMES or name in _OF_THE_MACHINE or name.startswith("versions.")


def _tensors(path: Path) -> _Values:
    return {(path.name, name): value for name, value in load_file(path).items()}


def _differ(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype != other.dtype or one.shape != other.shape or not torch.equal(_bytes(one), _bytes(other))
    # A figure that is no number is equal to itself.
    return bool(one != other and not (one != one and other != other))  # noqa: PLR0124


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _difference(place: str, name: str, before: Any, now: Any) -> Difference:
    if not isinstance(before, Tensor):
        return Difference(place, name, before, now)
    if before.dtype != now.dtype or before.shape != now.shape:
        return Difference(place, name, *(f"{tensor.dtype} of shape {tuple(tensor.shape)}" for tensor in (before, now)))
    width = before.element_size()
    unequal = (_bytes(before) != _bytes(now)).reshape(-1, width).any(1)
    position = int(unequal.nonzero()[0])
    first, second = (tensor.reshape(-1)[position].item() for tensor in (before, now))
    return Difference(
        place, f"{name}[{position}] ({int(unequal.sum()):,} of {unequal.numel():,} differ)", first, second
    )
