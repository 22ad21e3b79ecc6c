"""A teacher's report card: figures that follow from its logits, the labels and a student's logits alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.build.teacher_warnings import chance_bound
from limbeck.errors import UserError
from limbeck.rows import ABSENT, check_measurable
from limbeck.targets import taming_temperature
from limbeck.tasks.classification import ClassificationEvaluator

# Of a class with fewer rows the share that goes to another class means little.
_FEWEST_ROWS = 5
# With fewer errors of a teacher their overlap with the student's means little.
_FEWEST_ERRORS = 30
_SHOWN_CONFUSIONS = 3


class Answers(NamedTuple):
    """What a teacher, and a student beside it, answer to the rows of a split.

    Attributes:
        teacher: (R, C) the teacher's logits.
        classes: (R,) true classes, -100 where there is none.
        student: (R, C) the student's logits.
    """

    teacher: Tensor
    classes: Tensor
    student: Tensor


@dataclass(frozen=True)
class SplitFigures:
    """A teacher on the labeled rows of a split.

    Attributes:
        rows: How many there are.
        right: The share that the teacher has right.
        confidence: Its mean largest probability.
        wrong_confidence: The same on the rows that it has wrong; None if there are none.
        nll: Its mean loss in nats.
        ece: Its calibration error, of 15 equal bins.
        student_right: The share that the student has right.
        overlap: The share of the teacher's wrong rows that the student has wrong too; None if there are fewer than 30.
    """

    rows: int
    right: float
    confidence: float
    wrong_confidence: float | None
    nll: float
    ece: float
    student_right: float
    overlap: float | None


class Confusion(NamedTuple):
    """A class that the teacher takes for another one.

    Attributes:
        true: The class.
        taken_for: The other one.
        share: The share of the rows of the class.
    """

    true: int
    taken_for: int
    share: float


@dataclass(frozen=True)
class Card:
    """A teacher's report card.

    Attributes:
        classes: The number of logits of a row, C.
        train: On training rows.
        held_out: On rows that the student did not learn from.
        chance: The share of the held-out rows that one class for all has right.
        several_rows: Whether a sample has several rows, of which one class may be most.
        seen: Whether the teacher learned from the held-out rows, so that its figures there are too good.
        entropy: The mean entropy over the classes beside the true one at T = 1, as a share of the largest, log(C - 1);
            None with two classes.
        spread: The mean standard deviation of the logits of these classes.
        temperature: At which the teacher's mean largest probability lies halfway between 1 / C and 1.
        confusions: Which classes it takes for which, on held-out rows, the largest shares first.
        agreement: The share of rows with the same prediction on an augmented view; None where nothing is augmented.
        reliability: The share of training labels that the teacher explains better than students without it, as
            ``weight: auto`` measures it; None where it was not measured.

    Example:
        >>> logits, classes = torch.tensor([[2., 0., 0.], [0., 2., 1.]]), torch.tensor([0, 2])
        >>> card = make_card(Answers(logits, classes, logits), Answers(logits, classes, logits.flip(1)))
        >>> card.train.right, card.gap, card.surer, round(card.held_out.wrong_confidence, 3)
        (0.5, 0.5, 0.226, 0.665)
    """

    classes: int
    train: SplitFigures
    held_out: SplitFigures
    chance: float
    several_rows: bool
    seen: bool
    entropy: float | None
    spread: float
    temperature: float
    confusions: tuple[Confusion, ...]
    agreement: float | None = None
    reliability: float | None = None

    @property
    def gap(self) -> float:
        """How much more of the held-out rows the teacher has right than the student."""
        return self.held_out.right - self.held_out.student_right

    @property
    def near_chance(self) -> float:
        """The share of held-out rows up to which the teacher is no better than chance."""
        return self.chance if self.several_rows else chance_bound(self.chance, self.held_out.rows)

    @property
    def common(self) -> float | None:
        """How much of the teacher's errors the student shares: 0 for as many as of any rows, 1 for all of them."""
        overlap, student_wrong = self.held_out.overlap, 1 - self.held_out.student_right
        return None if overlap is None or student_wrong == 1 else (overlap - student_wrong) / (1 - student_wrong)

    @property
    def overfit(self) -> float:
        """How much more of the training rows than of the held-out rows the teacher has right."""
        return self.train.right - self.held_out.right

    @property
    def surer(self) -> float:
        """How much surer the teacher is on training rows than right, rounded; negative if it is less sure."""
        return round(self.train.confidence - self.train.right, 3)


def make_card(
    train: Answers,
    held_out: Answers,
    *,
    several_rows: bool = False,
    seen: bool = False,
    agreement: float | None = None,
    reliability: float | None = None,
) -> Card:
    """Make the card of a teacher.

    Args:
        train: Answers to training rows.
        held_out: Answers to rows that the student did not learn from.
        several_rows: Whether a sample has several rows.
        seen: Whether the teacher learned from the held-out rows.
        agreement: See :class:`Card`.
        reliability: See :class:`Card`.

    Raises:
        UserError: If a split has no labeled row, or a logit is nan or infinite.

    Example:
        >>> answers = Answers(torch.eye(4)[:3], torch.tensor([0, 1, 3]), torch.zeros(3, 4))
        >>> card = make_card(answers, answers)
        >>> round(card.held_out.right, 3), card.confusions
        (0.667, ())
    """
    train, held_out = (_labeled(answers, name) for answers, name in ((train, "train"), (held_out, "held_out")))
    logits = train.teacher
    return Card(
        classes=logits.shape[1],
        train=_figures(train),
        held_out=_figures(held_out),
        chance=float(held_out.classes.bincount().max()) / len(held_out.classes),
        several_rows=several_rows,
        seen=seen,
        entropy=_entropy(logits, train.classes),
        spread=float(_others(logits, train.classes).std(dim=1, correction=0).mean()),
        temperature=taming_temperature(logits, (1 + 1 / logits.shape[1]) / 2, sharpen=True),
        confusions=tuple(_confusions(held_out)),
        agreement=agreement,
        reliability=reliability,
    )


def _labeled(answers: Answers, name: str) -> Answers:
    labeled = answers.classes != ABSENT
    if not bool(labeled.any()):
        raise UserError(f"{name}: got no labeled rows, expected at least one to measure a teacher on")
    check_measurable(answers.teacher[labeled], f"{name}.teacher")
    # Calibration and entropies in the precision that the smallest probabilities need.
    return Answers(*(part[labeled].double() if part.is_floating_point() else part[labeled] for part in answers))


def _figures(answers: Answers) -> SplitFigures:
    evaluator = ClassificationEvaluator(answers.teacher.shape[1])
    evaluator.update(answers.teacher, answers.classes)
    measured = evaluator.compute()
    wrong = answers.teacher.argmax(dim=1) != answers.classes
    student_wrong = answers.student.argmax(dim=1) != answers.classes
    surest = answers.teacher.softmax(dim=1).amax(dim=1)
    some = bool(wrong.any())
    return SplitFigures(
        rows=len(wrong),
        right=1 - float(wrong.double().mean()),
        confidence=float(surest.mean()),
        wrong_confidence=float(surest[wrong].mean()) if some else None,
        nll=measured.loss,
        ece=measured.ece,
        student_right=1 - float(student_wrong.double().mean()),
        overlap=float(student_wrong[wrong].double().mean()) if int(wrong.sum()) >= _FEWEST_ERRORS else None,
    )


def _others(logits: Tensor, classes: Tensor) -> Tensor:
    """Return (R, C - 1) the logits of the classes beside the true one."""
    rest = ~F.one_hot(classes, logits.shape[1]).bool()
    return logits[rest].view(len(logits), -1)


def _entropy(logits: Tensor, classes: Tensor) -> float | None:
    others = _others(logits, classes)
    if others.shape[1] < 2:
        return None
    logs = others.log_softmax(dim=1)
    largest = torch.tensor(float(others.shape[1])).log()
    return float(-(logs.exp() * logs).sum(dim=1).mean() / largest)


def _confusions(answers: Answers) -> Sequence[Confusion]:
    """List the pairs of classes with the largest shares, of classes with enough rows."""
    count = answers.teacher.shape[1]
    taken = answers.teacher.argmax(dim=1)
    table = (answers.classes * count + taken).bincount(minlength=count * count).view(count, count).double()
    rows = table.sum(dim=1, keepdim=True)
    shares = torch.where(rows >= _FEWEST_ROWS, table / rows.clamp_min(1), 0).fill_diagonal_(0).flatten()
    order = shares.argsort(descending=True, stable=True)[:_SHOWN_CONFUSIONS].tolist()
    return [Confusion(place // count, place % count, float(shares[place])) for place in order if shares[place] > 0]
