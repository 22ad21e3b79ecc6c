"""Taming, semantic label smoothing and truncation of the teacher, as components of a composition."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from limbeck.errors import UserError
from limbeck.methods.card import builtin
from limbeck.methods.method import Parts
from limbeck.targets import Taming, truncate_logits
from limbeck.targets.prior import SemanticFileTarget
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


def _tame(settings: Taming) -> Parts:
    return Parts(taming=settings, teacher="any")


def _semantic(settings: SemanticSettings) -> Parts:
    if settings.prior is None:
        raise UserError("semantic.prior: missing, expected a .npy, .csv or .safetensors file of a matrix")
    target = SemanticFileTarget(settings.prior, alpha=settings.alpha)
    return Parts(targets=(target,), teacher="virtual")


def _top_k(settings: TopKSettings) -> Parts:
    return Parts(targets=(partial(_truncated, settings=settings),), teacher="any")


def _truncated(logits: Tensor, labels: Tensor, *, settings: TopKSettings) -> Tensor:  # noqa: ARG001
    return truncate_logits(logits, settings.k, rest=settings.rest)


ENTRIES = (
    builtin("semantic", SemanticSettings, _semantic, component=True),
    builtin("top_k", TopKSettings, _top_k, component=True),
    builtin("tame", Taming, _tame, component=True),
)
