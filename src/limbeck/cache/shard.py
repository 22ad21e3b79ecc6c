"""A part of the rows of a cache, which one of several processes fills."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from limbeck.errors import UserError, shortened

# A file system that several machines share may write whole pages of a file (4096 bytes, 1024 checksums): where every
# part has many of them, two parts share none. A row on a shared page that gets lost fails its checksum, and is made
# again.
_BLOCK, _BLOCKS = 1024, 16
_EXPECTED = "expected i/n with i from 1 to n, such as 3/8, or auto"


@dataclass(frozen=True)
class Shard:
    """The ``index``-th of ``count`` parts of the rows of a cache.

    Args:
        index: Which part, from 1 to ``count``.
        count: How many parts there are.

    Raises:
        UserError: If there is no such part.

    Example:
        >>> shard = Shard(3, 8)
        >>> str(shard), shard.bounds(1000), [Shard(part, 3).bounds(10) for part in (1, 2, 3)]
        ('shard 3 of 8', (250, 375), [(0, 3), (3, 6), (6, 10)])
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UserError(f"shard: got {self.index}/{self.count}, {_EXPECTED}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a shard as it is typed, ``"3/8"``.

        Raises:
            UserError: If it is none.

        Example:
            >>> Shard.parse("3/8")
            Shard(index=3, count=8)
        """
        index, slash, count = text.partition("/")
        if not slash or not (_is_number(index) and _is_number(count)):
            raise UserError(f"shard: got {shortened(text)}, {_EXPECTED}")
        return cls(int(index), int(count))

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> Self:
        """Return the shard of a process that torchrun or SLURM started.

        That is the task of a SLURM array (``SLURM_ARRAY_TASK_ID``, ``_COUNT``, ``_MIN``, ``_STEP``); else the process
        of a launcher that sets ``RANK`` and ``WORLD_SIZE``, as torchrun does; else the task of srun (``SLURM_PROCID``,
        ``SLURM_NTASKS``). Several processes within each task of an array have no number of their own, and are refused.

        Args:
            environ: The variables of the environment.

        Raises:
            UserError: If none of these is set, or one is no number or has no place among the others.

        Example:
            >>> Shard.of_environment({"RANK": "2", "WORLD_SIZE": "8"})
            Shard(index=3, count=8)
            >>> array = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "5"}
            >>> Shard.of_environment(array)
            Shard(index=3, count=4)
        """
        found = [part for part in (_array(environ), _process(environ)) if part is not None]
        if not found:
            variables = "RANK and WORLD_SIZE, SLURM_ARRAY_TASK_ID and _COUNT, or SLURM_PROCID and SLURM_NTASKS"
            raise UserError(f"shard: got auto without variables of a launcher, expected {variables}, or i/n")
        several = [(index, count) for index, count in found if count > 1]
        if len(several) > 1:
            got = f"an array of {several[0][1]} tasks with {several[1][1]} processes each"
            raise UserError(f"shard: got auto in {got}, expected one process a task, or i/n")
        index, count = (several or found)[0]
        return cls(index + 1, count)

    def __str__(self) -> str:
        return f"shard {self.index} of {self.count}"

    def bounds(self, total: int) -> tuple[int, int]:
        """Return where the part of ``total`` things begins and ends.

        Parts have the same size up to one; where all are large, they begin at multiples of 1024.

        Example:
            >>> [Shard(part, 2).bounds(100_001) for part in (1, 2)], Shard(5, 8).bounds(3)
            ([(0, 50176), (50176, 100001)], (1, 1))
        """
        block = _BLOCK if total >= _BLOCK * _BLOCKS * self.count else 1
        blocks = -(-total // block)
        start, end = (blocks * part // self.count * block for part in (self.index - 1, self.index))
        return min(start, total), min(end, total)

    def rows(self, total: int) -> str:
        """Write which of ``total`` rows the part has.

        Example:
            >>> Shard(3, 8).rows(10_000), Shard(3, 8).rows(2)
            ('shard 3 of 8, rows 2,500 to 3,749', 'shard 3 of 8, no rows')
        """
        start, end = self.bounds(total)
        return f"{self}, rows {start:,} to {end - 1:,}" if end > start else f"{self}, no rows"

    def of(self, values: Tensor) -> Tensor:
        """Return the part of (N, ...) values.

        Example:
            >>> import torch
            >>> Shard(2, 2).of(torch.arange(5))
            tensor([2, 3, 4])
        """
        start, end = self.bounds(len(values))
        return values[start:end]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _array(environ: Mapping[str, str]) -> tuple[int, int] | None:
    """Return which task of an array this is, from 0, and how many there are."""
    if "SLURM_ARRAY_TASK_ID" not in environ:
        return None
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "COUNT", "MIN")]
    number, count, first = (_number(environ, name) for name in names)
    step = _number(environ, "SLURM_ARRAY_TASK_STEP") if "SLURM_ARRAY_TASK_STEP" in environ else 1
    index, rest = divmod(number - first, max(1, step))
    if rest or not 0 <= index < count:
        got = f"task {number} of an array of {count} tasks from {first}"
        raise UserError(f"shard: got auto in {got}, expected tasks without gaps, such as --array=1-{count}, or i/n")
    return index, count


def _process(environ: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the number of this process among those of its launcher, from 0, and how many there are."""
    for index_name, count_name in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if index_name in environ or (count_name in environ and count_name == "WORLD_SIZE"):
            index, count = _number(environ, index_name), _number(environ, count_name)
            if index >= count:
                raise UserError(f"shard: got auto with {index_name} {index} and {count_name} {count}, expected less")
            return index, count
    return None


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name)
    if text is None:
        raise UserError(f"shard: got auto without {name}, expected it beside the launcher's other variables, or i/n")
    if not _is_number(text):
        raise UserError(f"shard: got auto with {name} {shortened(text)}, expected a whole number, or i/n")
    return int(text)
