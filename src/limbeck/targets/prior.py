"""Semantic label smoothing with a prior matrix from a file, which is read once, when it is first needed."""

import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from limbeck.errors import UserError, shortened
from limbeck.files import expanded
from limbeck.targets.semantic import SemanticTarget

_KINDS = (".npy", ".csv", ".safetensors")


class SemanticFileTarget:
    r"""A :class:`limbeck.targets.SemanticTarget` whose prior is in a file.

    Args:
        path: The file, as for :func:`load_prior`.
        alpha: The prior's share, in [0, 1].

    Raises:
        UserError: If there is no such file or it is of another kind; when the prior is first needed, as
            :func:`load_prior` and :class:`limbeck.targets.SemanticTarget`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "prior.csv"
        >>> _ = path.write_text("0.75,0.25\n0.5,0.5")
        >>> SemanticFileTarget(path, alpha=1.0)(torch.zeros(1, 2), torch.tensor([0])).softmax(1)
        tensor([[0.7500, 0.2500]])
    """

    def __init__(self, path: Path, *, alpha: float = 0.1) -> None:
        self.path, self.alpha = _existing(path), alpha
        self._target: SemanticTarget | None = None

    def check(self, num_classes: int | None = None) -> None:
        """Read the file, and raise ``UserError`` unless its prior is one for that many classes."""
        if self._target is None:
            self._target = SemanticTarget(load_prior(self.path), alpha=self.alpha)
        if num_classes is not None and num_classes != len(self._target.prior):
            raise UserError(f"prior: has {len(self._target.prior)} classes, expected the {num_classes} of the data")

    def __call__(self, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """Return (N, C) logits in fp32 for (N, C) logits of any teacher and (N,) true classes."""
        self.check()
        assert self._target is not None
        return self._target(teacher_logits, labels)


def load_prior(path: Path) -> Tensor:
    r"""Read a prior's matrix from a file; this runs no code of the file's.

    Args:
        path: A ``.npy`` file, a ``.csv`` file of numbers between commas without a header, or a ``.safetensors`` file
            that holds one tensor.

    Returns:
        The matrix in fp32.

    Raises:
        UserError: If there is no such file, it is of another kind, or it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "prior.csv"
        >>> _ = path.write_text("0.75,0.25\n0.5,0.5")
        >>> load_prior(path)
        tensor([[0.7500, 0.2500],
                [0.5000, 0.5000]])
    """
    path = _existing(path)
    try:
        # NumPy warns of what is an error here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(path)
    except Exception as error:  # the readers raise no common type
        reason = shortened(" ".join(str(error).split()), 200, quoted=False)
        raise UserError(f"semantic.prior: {str(path)!r} cannot be read ({reason}), expected a matrix") from error


def _existing(path: Path) -> Path:
    path = expanded(path)
    if path.suffix not in _KINDS:
        raise UserError(f"semantic.prior: got {str(path)!r}, expected a .npy, .csv or .safetensors file")
    if not path.is_file():
        raise UserError(f"semantic.prior: got {str(path)!r}, there is no such file")
    return path


def _read(path: Path) -> Tensor:
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        if len(tensors) != 1:
            raise ValueError(f"it holds {len(tensors)} tensors")
        return next(iter(tensors.values())).float()
    matrix = np.loadtxt(path, delimiter=",", ndmin=2) if path.suffix == ".csv" else np.load(path, allow_pickle=False)
    return torch.from_numpy(np.asarray(matrix, dtype=np.float32))
