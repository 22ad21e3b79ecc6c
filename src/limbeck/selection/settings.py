"""How to select: the settings of the data selection, and its use on the rows at hand."""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from limbeck.errors import UserError, unknown_name
from limbeck.rows import check_labels, check_pair, whole_numbers
from limbeck.selection.choose import choose, choose_stratified
from limbeck.selection.scores import agreement_scores, confidence_scores, el2n_scores, random_scores
from limbeck.selection.shuffle import shuffled
from limbeck.validation import Settings, one_line_errors

DivideBy = Literal["all", "selected"]
ROW_SCORERS = ("random", "agreement", "confidence", "el2n")
"""The scorers that need only the rows' logits and labels, so that they work within a batch."""

SCORERS = ("influence", *ROW_SCORERS)
"""Every scorer; ``influence`` needs features and held-out rows, see :func:`limbeck.selection.head_influence`."""

_BY_POSITION = ("scorer", "ratio", "per_class", "refresh_every", "holdout", "damping", "proxy_epochs", "divide_by")


class Selection(Settings):
    """Which rows the teacher supervises (data selection of LR+DS, arXiv 2404.03693; the others get ground truth only).

    The paper's outline gives the idea alone: scorers, ratio, refresh and ranking are this project's decisions. These
    are also the settings of the component ``select`` and, among others, of the method ``lr_ds``.

    Args:
        scorer: One of :data:`SCORERS`.
        ratio: The share of rows that the teacher supervises, in ``(0, 1]``.
        per_class: Whether each class keeps its share, or all rows are ranked together.
        holdout: The share of the TRAINING set that influence is measured on, in ``(0, 1)``.
        damping: Of :func:`limbeck.selection.head_influence`; ``None`` for plain gradient steps.
        refresh_every: Epochs between two scorings; ``None`` scores once, before training.
        proxy_epochs: Epochs of plain training that a copy of the student gets before a run scores it.
        divide_by: What the sum over the selected rows is divided by: ``"all"`` rows of the batch, so that a selection
            lowers the teacher's total weight, or the ``"selected"`` ones, so that it only moves that weight to them.
        shuffled: Whether the weights that the scorer gives are permuted over the rows (of a class, if ``per_class``):
            the control that shows whether it matters which rows are selected.

    Raises:
        UserError: A setting outside its range, or an unknown scorer.

    Example:
        >>> selection = Selection("agreement", ratio=0.5, per_class=False)
        >>> teacher = torch.tensor([[3.0, 0.0], [0.0, 3.0]])
        >>> selection.batch_mask(torch.zeros(2, 2), teacher, torch.tensor([1, 1]))
        tensor([False,  True])
    """

    former_keys = {"scout_epochs": "proxy_epochs"}  # noqa: RUF012 - a constant
    scorers: ClassVar[tuple[str, ...]] = SCORERS

    scorer: Annotated[str, Field(description="one of " + ", ".join(SCORERS))] = "influence"
    ratio: Annotated[float, Field(gt=0, le=1, description="share of the samples that the teacher supervises")] = 0.8
    per_class: Annotated[bool, Field(description="rank within each class instead of over all samples")] = True
    holdout: Annotated[
        float, Field(gt=0, lt=1, description="share of the training set that influence is measured on")
    ] = 0.1
    damping: Annotated[
        float | None, Field(gt=0, description="precondition influence by the head's Fisher matrix with this damping")
    ] = None
    refresh_every: Annotated[int | None, Field(ge=1, description="score anew every so many epochs")] = None
    proxy_epochs: Annotated[
        int, Field(ge=1, description="epochs of plain training of the copy of the student that is scored")
    ] = 2
    divide_by: Annotated[
        DivideBy,
        Field(description="'all': a selection lowers the teacher's total weight; 'selected': it only moves it"),
    ] = "all"
    shuffled: Annotated[
        bool, Field(description="the control: the scorer's weights permuted over the rows, within a class if per_class")
    ] = False

    def __init__(self, *values: Any, **settings: Any) -> None:
        with one_line_errors(type(self)):
            super().__init__(**dict(zip(_BY_POSITION[: len(values)], values, strict=True)), **settings)

    @field_validator("scorer")
    @classmethod
    def _known(cls, scorer: str) -> str:
        if scorer not in cls.scorers:
            raise unknown_name("scorer", scorer, cls.scorers)
        return scorer

    @property
    def label(self) -> str:
        """The scorer's name, with ``shuffled`` behind it if its weights are."""
        return f"{self.scorer}, shuffled" if self.shuffled else self.scorer

    @property
    def needs_training_set(self) -> bool:
        """Whether rows can be scored only among the whole training set, never within a batch."""
        return self.scorer not in ROW_SCORERS

    @property
    def needs_student(self) -> bool:
        """Whether the score is a student's view, so that a run trains a proxy first."""
        return self.scorer in ("influence", "el2n")

    def batch_mask(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        *,
        indices: Tensor | None = None,
        seed: int = 0,
        epoch: int = 0,
    ) -> Tensor:
        """Choose among the given rows only, without waiting for an accelerator.

        The kept number is exactly ``ratio`` of the rows (rounded half up, at least one); with ``per_class`` the classes
        share it evenly, see :func:`limbeck.selection.choose_stratified`.

        Args:
            student_logits: (N, C) floats.
            teacher_logits: (N, C) floats.
            labels: (N,) true classes.
            indices: (N,) sample indices, used by what is drawn at random: a sample's draw is then the same in every
                epoch. Without them the draws belong to the rows' places in the batch, so that which samples they
                select is left to the order in which the samples come.
            seed: Of what is drawn at random.
            epoch: The epoch, from 0: without ``indices`` the draws differ between epochs.

        Returns:
            (N,) bool mask, true for the selected rows.

        Raises:
            UserError: The scorer is ``influence``, or a wrong shape or type, or a label out of range.
        """
        check_pair(student_logits, teacher_logits)
        check_labels(labels, student_logits)
        indices, epoch = (_positions(labels), epoch) if indices is None else (indices, 0)
        scores = self.scores(student_logits, teacher_logits, labels, indices=indices, seed=seed, epoch=epoch)
        chosen = choose_stratified(scores, self.ratio, labels) if self.per_class else choose(scores, self.ratio)
        if not self.shuffled:
            return chosen
        return shuffled(chosen, indices, seed=seed, labels=labels if self.per_class else None, epoch=epoch)

    def scores(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        *,
        indices: Tensor | None = None,
        seed: int = 0,
        epoch: int = 0,
    ) -> Tensor:
        """Score rows by a scorer that needs nothing else.

        The arguments are those of :meth:`batch_mask`, but for ``epoch``, which counts with ``indices`` too.

        Returns:
            (N,) scores, higher for rows that should rather be selected.

        Raises:
            UserError: The scorer is ``influence``, or a wrong shape or type.
        """
        if self.scorer == "agreement":
            return agreement_scores(teacher_logits, labels)
        if self.scorer == "confidence":
            return confidence_scores(teacher_logits)
        if self.scorer == "el2n":
            return el2n_scores(student_logits, labels)
        if self.scorer == "random":
            indices = _positions(labels) if indices is None else whole_numbers(indices, "indices", len(labels))
            return random_scores(indices, seed=seed, epoch=epoch)
        raise UserError(
            f"scorer {self.scorer!r} cannot choose within a batch: it needs the training set's features and "
            f"held-out rows, expected one of {', '.join(ROW_SCORERS)}"
        )


def _positions(labels: Tensor) -> Tensor:
    return torch.arange(len(labels), device=labels.device)
