"""Semantic label smoothing and truncation of the teacher, as components of a composition."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from limbeck.errors import UserError
from limbeck.methods.card import Card, Entry
from limbeck.methods.method import Parts
from limbeck.targets import SemanticTarget, truncate_logits
from limbeck.validation import Settings


class SemanticSettings(Settings):
    """Settings of ``semantic``."""

    prior: Annotated[
        Path | None, Field(description="file of a (classes, classes) matrix: .npy, .csv or .safetensors; needed")
    ] = None
    alpha: Annotated[float, Field(ge=0, le=1, description="the prior's share of a label")] = 0.1


class TopKSettings(Settings):
    """Settings of ``top_k``."""

    k: Annotated[int, Field(ge=1, description="how many of the teacher's classes are kept")] = 10
    rest: Annotated[
        Literal["spread", "drop"], Field(description="'spread' the others' probability evenly, or 'drop' it")
    ] = "spread"


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
    path = path.expanduser()
    if path.suffix not in (".npy", ".csv", ".safetensors"):
        raise UserError(f"semantic.prior: got {str(path)!r}, expected a .npy, .csv or .safetensors file")
    if not path.is_file():
        raise UserError(f"semantic.prior: got {str(path)!r}, there is no such file")
    try:
        return _read(path)
    except (SafetensorError, OSError, ValueError, EOFError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"semantic.prior: {str(path)!r} cannot be read ({reason}), expected a matrix") from error


def _read(path: Path) -> Tensor:
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        if len(tensors) != 1:
            raise ValueError(f"it holds {len(tensors)} tensors")
        return next(iter(tensors.values())).float()
    matrix = np.loadtxt(path, delimiter=",", ndmin=2) if path.suffix == ".csv" else np.load(path, allow_pickle=False)
    return torch.from_numpy(np.asarray(matrix, dtype=np.float32))


def _semantic(settings: SemanticSettings) -> Parts:
    if settings.prior is None:
        raise UserError("semantic.prior: missing, expected a .npy, .csv or .safetensors file of a matrix")
    target = SemanticTarget(load_prior(settings.prior), alpha=settings.alpha)
    return Parts(targets=(target,), teacher="virtual")


def _top_k(settings: TopKSettings) -> Parts:
    return Parts(targets=(partial(_truncated, settings=settings),), teacher="any")


def _truncated(logits: Tensor, labels: Tensor, *, settings: TopKSettings) -> Tensor:  # noqa: ARG001
    return truncate_logits(logits, settings.k, rest=settings.rest)


ENTRIES = (
    Entry(
        "semantic",
        SemanticSettings,
        _semantic,
        Card(
            summary="Target: smooth each label towards the classes that a prior matrix says are like it; no teacher.",
            citation=(
                "Camporese et al., Knowledge Distillation for Action Anticipation via Label Smoothing, ICPR 2020,"
                " arXiv 2004.07711"
            ),
            equation="p = (1 - a) onehot(y) + a prior[y]",
            ours=(
                "alpha = .1, as in plain label smoothing. The paper takes its priors from the data (word vectors, what"
                " follows what); here they come in a file, row y the distribution of class y.",
                "semantic+kd at temperature 1 and alpha 1 is the cross-entropy with p, but for a constant.",
            ),
        ),
        component=True,
    ),
    Entry(
        "top_k",
        TopKSettings,
        _top_k,
        Card(
            summary="Target: keep the teacher's k best classes; spread the others' probability, or drop it.",
            citation=(
                "Shen, Xing, A Fast Knowledge Distillation Framework for Visual Recognition, ECCV 2022,"
                " arXiv 2112.01528"
            ),
            equation=(
                "spread: p_i on the k best, (1 - their sum) / (C - k) elsewhere; drop: p_i / their sum on the k best, 0"
                " elsewhere"
            ),
            ours=(
                "k = 10. Truncation happens at T = 1, and of equal logits those of the lower classes are kept.",
                "drop writes logits 10,000 below the kept ones, which no loss that standardizes logits should follow.",
            ),
        ),
        component=True,
    ),
)
