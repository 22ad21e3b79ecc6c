"""How a teacher's whole output for one sample lies in a cache's file, and how it comes back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from limbeck.cache.packing import STORED_TYPES, PackedLogits, StoredType
from limbeck.errors import UserError

Shape = int | Sequence[int]
# The name of a tensor that is the whole output.
_BARE = ""


@dataclass(frozen=True)
class RowFormat:
    """The layout of a stored row: a sample's logits in order, or the largest at each position with their classes.

    An output is one tensor, (N, C) or (N, C, H, W), or several by name, all with the class axis second. What has its
    logits under ``.logits`` (as Hugging Face's outputs) or, in a mapping, under ``"logits"`` is stored as that tensor
    where the format is that of one tensor.

    With ``top_k`` a position's logits are stored as the k largest, their classes, and one logit that all other classes
    are given. It is the mean of their probabilities as a logit, so that at temperature 1 the k probabilities stay what
    they were and the others share evenly what is left. That is an approximation; without ``top_k`` a row comes back as
    it was, to the precision of ``dtype``.

    Args:
        shape: The shape of one sample's logits, C first, such as (C, H, W); by name for several tensors; a number of
            classes C stands for (C,).
        dtype: How a logit is stored.
        top_k: How many logits of each position are stored; None for all of them.

    Raises:
        UserError: If a shape is empty, ``dtype`` is unknown, or ``top_k`` is not within 1 to C - 1.

    Example:
        >>> dense, sparse = RowFormat(100), RowFormat(1000, top_k=10)
        >>> dense.bytes, sparse.bytes
        (200, 44)
        >>> logits = torch.randn(2, 100)
        >>> torch.equal(dense.decode(dense.encode(logits)), logits.half().float())
        True
        >>> heads = RowFormat({"out": (21, 8, 8), "aux": (21, 4, 4)}, "float32")
        >>> output = {"out": torch.randn(2, 21, 8, 8), "aux": torch.randn(2, 21, 4, 4)}
        >>> torch.equal(heads.decode(heads.encode(output))["aux"], output["aux"])
        True
    """

    shape: Shape | Mapping[str, Shape]
    dtype: StoredType = "float16"
    top_k: int | None = None

    def __post_init__(self) -> None:
        shapes = _by_name(self.shape)
        if not shapes or not all(shape and min(shape) > 0 for shape in shapes.values()):
            raise UserError(f"row format: got {self.shape}, expected shapes of logits, such as (C,) or (C, H, W)")
        object.__setattr__(self, "shape", shapes.get(_BARE, shapes))
        if self.dtype not in STORED_TYPES:
            raise UserError(f"teacher.cache_dtype: got {self.dtype!r}, expected 'float16' or 'float32'")
        classes = min(shape[0] for shape in shapes.values())
        if self.top_k is not None and not 1 <= self.top_k < classes:
            expected = f"expected 1 to {classes - 1}, fewer than the {classes} classes"
            raise UserError(f"teacher.cache_top_k: got {self.top_k}, {expected}")

    @classmethod
    def of(cls, output: Any, *, dtype: StoredType = "float16", top_k: int | None = None) -> Self:
        """Make the format of outputs like a given one.

        Args:
            output: What a teacher returned for a batch: a tensor of logits, an object with ``.logits``, or a mapping of
                tensors by name.
            dtype: How a logit is stored.
            top_k: How many logits of each position are stored; None for all of them.

        Raises:
            UserError: If the output is none of these.

        Example:
            >>> RowFormat.of({"out": torch.zeros(2, 21, 8, 8)}).shape
            {'out': (21, 8, 8)}
        """
        is_mapping = isinstance(output, Mapping) and not isinstance(getattr(output, "logits", None), Tensor)
        tensors = _tensors(output, bare=not is_mapping)
        if not tensors or not all(_is_logits(tensor) for tensor in tensors.values()):
            expected = "expected float logits (N, C, ...), an object with .logits, or a mapping of such tensors by name"
            raise UserError(f"the teacher's output: got {_described(output)}, {expected}")
        shapes = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}
        return cls(shapes if is_mapping else shapes[_BARE], dtype, top_k)

    @cached_property
    def _heads(self) -> dict[str, PackedLogits]:
        return {name: PackedLogits(shape, self.dtype, self.top_k) for name, shape in _by_name(self.shape).items()}

    @property
    def _is_bare(self) -> bool:
        return _BARE in self._heads

    @cached_property
    def words(self) -> int:
        """How many 32-bit words a row takes."""
        return sum(head.words for head in self._heads.values())

    @property
    def bytes(self) -> int:
        """How many bytes a row takes."""
        return 4 * self.words

    @property
    def logits(self) -> int:
        """How many logits a sample has, stored or not."""
        return sum(math.prod(head.shape) for head in self._heads.values())

    @property
    def material(self) -> dict[str, Any]:
        """What decides the layout, as JSON takes it, for a cache's key."""
        if not self._is_bare:
            shapes: dict[str, Any] = {"heads": [[name, list(head.shape)] for name, head in self._heads.items()]}
        elif len(self._heads[_BARE].shape) == 1:
            shapes = {"classes": self._heads[_BARE].classes}
        else:
            shapes = {"shape": list(self._heads[_BARE].shape)}
        return {**shapes, "dtype": self.dtype, "top_k": self.top_k}

    def __str__(self) -> str:
        sizes = _joined({name: "x".join(map(str, head.shape)) for name, head in self._heads.items()})
        if sizes.isdigit():
            return f"{f'{sizes} classes' if self.top_k is None else f'top {self.top_k} logits'} x {self.dtype}"
        named = sizes if self._is_bare else f"({sizes})"
        return f"{'' if self.top_k is None else f'top {self.top_k} of '}{named} logits x {self.dtype}"

    def check(self, output: Any, samples: int | None = None) -> dict[str, Tensor]:
        """Return an output's tensors by name, if they have this format's names and shapes.

        Args:
            output: What a teacher returned for a batch.
            samples: The number of samples N of the batch; None for that of the output.

        Raises:
            UserError: If it has other names or shapes.

        Example:
            >>> RowFormat(3).check(torch.zeros(2, 4))
            Traceback (most recent call last):
            limbeck.errors.UserError: the teacher's output: got (2, 4), expected (2, 3) as in its cache
        """
        tensors = _tensors(output, bare=self._is_bare)
        first = next(iter(tensors.values()), None)
        count = samples if samples is not None else len(first) if isinstance(first, Tensor) and first.ndim else "N"
        shapes = {name: (count, *head.shape) for name, head in self._heads.items()}
        if tensors.keys() == shapes.keys() and all(
            _is_logits(tensors[name]) and tensors[name].shape == shape for name, shape in shapes.items()
        ):
            return tensors
        listed = _joined({name: f"({', '.join(map(str, shape))})" for name, shape in shapes.items()})
        raise UserError(f"the teacher's output: got {_described(output)}, expected {listed} as in its cache")

    def encode(self, output: Any, samples: int | None = None) -> Tensor:
        """Turn an output to rows.

        Args:
            output: What a teacher returned for a batch of N samples, of any floating type.
            samples: The number N that is expected; None for any.

        Returns:
            (N, words) int32, on the same device.

        Raises:
            UserError: If the output has other names or shapes, or a logit is too large for float16.
        """
        tensors = self.check(output, samples)
        parts = [head.encode(tensors[name]) for name, head in self._heads.items()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def decode(self, rows: Tensor) -> Any:
        """Turn (N, words) int32 rows to float32 logits on the same device: a tensor, or several by name."""
        if self._is_bare:
            return self._heads[_BARE].decode(rows)
        parts = torch.split(rows, [head.words for head in self._heads.values()], dim=1)
        return {name: head.decode(part) for (name, head), part in zip(self._heads.items(), parts, strict=True)}


def _by_name(shape: Shape | Mapping[str, Shape]) -> dict[str, tuple[int, ...]]:
    shapes = shape if isinstance(shape, Mapping) else {_BARE: shape}
    return {name: (size,) if isinstance(size, int) else tuple(size) for name, size in shapes.items()}


def _tensors(output: Any, *, bare: bool) -> dict[str, Any]:
    """Return the tensors of an output by name; with ``bare`` its logits alone, under no name."""
    if not bare:
        return dict(output) if isinstance(output, Mapping) else {}
    if isinstance(output, Tensor):
        return {_BARE: output}
    logits = getattr(output, "logits", None)
    logits = output.get("logits") if logits is None and isinstance(output, Mapping) else logits
    return {} if logits is None else {_BARE: logits}


def _is_logits(tensor: Any) -> bool:
    return isinstance(tensor, Tensor) and tensor.ndim > 1 and tensor.is_floating_point()


def _described(output: Any) -> str:
    if isinstance(output, Mapping):
        return _joined({str(name): _described(part) for name, part in output.items()}) or "an empty mapping"
    if not isinstance(output, Tensor):
        return type(output).__name__
    return f"{tuple(output.shape)}{'' if output.is_floating_point() else f' {output.dtype}'}"


def _joined(named: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {shape}".lstrip() for name, shape in named.items())
