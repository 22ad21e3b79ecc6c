"""What a method is made of: its teacher, the corrections of the target logits, the selected rows, and the loss."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor, nn

from limbeck.errors import UserError
from limbeck.modifiers import Modifier
from limbeck.selection import Selection, Weighing
from limbeck.targets import Taming

TeacherKind = Literal["live", "self", "lightweight", "virtual"]
Target = Callable[[Tensor, Tensor], Tensor]
Layers = Literal["all", "middle", "last"]
# Names of numbers that every record has beside the terms' own.
RESERVED = ("ce", "loss", "accuracy", "discriminator")


@dataclass(frozen=True)
class Term:
    """One weighted loss between the student's and the teacher's rows.

    Attributes:
        name: Its name among the parts of a loss; not ``ce``, ``loss``, ``accuracy`` or one that begins with
            ``discriminator``. Where two terms of a method have one name, :class:`Method` numbers them.
        weight: What it is multiplied by.
        loss: Makes the loss module; called with the number of classes if ``per_class``.
        per_class: Whether the module depends on the number of classes.
        features: Whether it compares features instead of logits: ``loss`` then makes a
            :class:`limbeck.losses.features.FeatureLoss` from the features' shapes.
        layers: Which of the suggested layers a loss of features compares where none were named by the user.
        warmup: How many epochs the weight takes to rise, in equal steps, to what it is; 0 for full from the start.
        scales_with_temperature: Whether it is multiplied by the square of a temperature that a modifier puts in front
            of it. True for losses with a factor T^2 of their own, which then run at T = 1, and for those of the plain
            logits, where it undoes the division; false for losses without that factor. Features have no temperature.
        takes_temperature: Whether the loss is given that temperature instead, as a fifth argument, and logits that it
            has not divided yet: for losses that soften only a part of what they compare. It is not multiplied then.
        measured_temperature: Whether the loss, a :class:`limbeck.losses.LossModule` at T = 1, runs at the temperature
            that the component ``weigh`` measures on the teacher.
        full_weight: The weight beside labels of weight 1 where the component ``weigh`` gives a teacher its full weight;
            None for ``weight``.

    Raises:
        UserError: If the name is reserved, or empty.

    Example:
        >>> from limbeck.losses import KDLoss
        >>> Term("kd", 0.9, KDLoss).build(10)
        KDLoss(temperature=4.0, reduction='batchmean')
        >>> [Term("kd", 1.0, KDLoss, warmup=4).weight_at(epoch) for epoch in (0, 1, 3, 9)]
        [0.25, 0.5, 1.0, 1.0]
    """

    name: str
    weight: float
    loss: Callable[..., nn.Module]
    per_class: bool = False
    features: bool = False
    layers: Layers = "all"
    warmup: int = 0
    scales_with_temperature: bool = True
    takes_temperature: bool = False
    measured_temperature: bool = False
    full_weight: float | None = None

    def __post_init__(self) -> None:
        if not self.name or self.name in RESERVED or self.name.startswith("discriminator"):
            raise UserError(f"term: got the name {self.name!r}, expected another than {', '.join(RESERVED)}")

    def weight_at(self, epoch: int) -> float:
        """Return the weight in an epoch, from 0."""
        return self.weight * min(1.0, (epoch + 1) / self.warmup) if self.warmup else self.weight

    def beside_labels(self) -> "Term":
        """Return the term with its full weight, as it stands beside labels of weight 1."""
        return self if self.full_weight is None else replace(self, weight=self.full_weight)

    def build(self, num_classes: int) -> nn.Module:
        """Make the loss module for a task of ``num_classes`` classes."""
        return self.loss(num_classes) if self.per_class else self.loss()


@dataclass(frozen=True)
class Matching:
    """How the student is matched to the teacher: the terms, and the weight of the ground truth beside them.

    Attributes:
        ce_weight: Weight of the cross-entropy with the true labels.
        terms: The distillation losses.
        replaceable: Whether a composition may put another method's matching in its place.

    Example:
        >>> Matching(1.0).terms
        ()
    """

    ce_weight: float
    terms: tuple[Term, ...] = ()
    replaceable: bool = False


@dataclass(frozen=True)
class Parts:
    """What one name of a composition contributes.

    Attributes:
        matching: Its loss, if it has one.
        extras: Losses that stay whatever the matching is.
        targets: Corrections of the teacher's logits, in order.
        modifiers: Make what maps both sides' logits in front of the losses, in order.
        selection: Which rows the teacher supervises; None where this part leaves it open.
        teacher: The teacher it needs: ``"any"``, a certain kind, or None.
        label_smoothing: Smoothing of the true labels in the cross-entropy, in [0, 1).
        taming: How the teacher is tamed in front of all targets; None where this part leaves it open.
        weighing: How much the teacher counts beside labels of weight 1; None where this part leaves it open.
        corrects: Whether its targets put the true class first in every row.

    Example:
        >>> Parts(teacher="any").targets
        ()
    """

    matching: Matching | None = None
    extras: tuple[Term, ...] = ()
    targets: tuple[Target, ...] = ()
    modifiers: tuple[Callable[[], Modifier], ...] = ()
    selection: Selection | None = None
    teacher: TeacherKind | Literal["any"] | None = None
    label_smoothing: float = 0.0
    taming: Taming | None = None
    weighing: Weighing | None = None
    corrects: bool = False


@dataclass(frozen=True)
class Method:
    """A composition, ready to be run; made by :func:`limbeck.methods.create`.

    Attributes:
        name: The names it was composed of, such as ``"lr+dist"``.
        settings: The settings of each name.
        teacher: The teacher it needs: ``"any"``, a certain kind, or None for none.
        ce_weight: Weight of the cross-entropy with the true labels, on every row.
        label_smoothing: Smoothing of the true labels in the cross-entropy.
        terms: The losses against the teacher. A name that stands a second time becomes ``NAME_2``, and so on.
        targets: Corrections of the teacher's logits, applied in order.
        modifiers: Make what maps both sides' logits in front of the terms, applied in order.
        selection: Which rows the teacher supervises; None for all.
        taming: How the teacher is tamed in front of all targets; None if it is not.
        weighing: How much the teacher counts beside the weights of the terms; None for those alone.
        corrects: Whether the targets put the true class first in every row, so that a teacher that takes one class for
            another throughout does no harm.

    Example:
        >>> import limbeck
        >>> from functools import partial
        >>> limbeck.methods.create("dr_kd").teacher
        'self'
        >>> from limbeck.losses import KDLoss
        >>> terms = (Term("kd", 0.5, partial(KDLoss, temperature=t)) for t in (1.0, 4.0))
        >>> [term.name for term in Method("two temperatures", {}, "any", terms=tuple(terms)).terms]
        ['kd', 'kd_2']
    """

    name: str
    settings: Mapping[str, Mapping[str, Any]] = field(hash=False)
    teacher: TeacherKind | Literal["any"] | None
    ce_weight: float = 1.0
    label_smoothing: float = 0.0
    terms: tuple[Term, ...] = ()
    targets: tuple[Target, ...] = ()
    modifiers: tuple[Callable[[], Modifier], ...] = ()
    selection: Selection | None = None
    taming: Taming | None = None
    weighing: Weighing | None = None
    corrects: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", _distinct(self.terms))

    def check(self, num_classes: int | None = None) -> None:
        """Find what is wrong with the targets, such as a prior's file, before anything runs; files are read here.

        A target with something to check has a method ``check(num_classes)``.

        Args:
            num_classes: The number of classes, if it is known.

        Raises:
            UserError: If a target cannot be used.
        """
        for target in (self.taming, *self.targets):
            if callable(check := getattr(target, "check", None)):
                check(num_classes)


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name that is not taken yet: itself, or with the first free number from 2.

    Example:
        >>> free_name("kd", {"ce"}), free_name("kd", {"kd", "kd_2"})
        ('kd', 'kd_3')
    """
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _distinct(terms: Sequence[Term]) -> tuple[Term, ...]:
    names, distinct = {term.name for term in terms}, dict[str, Term]()
    for term in terms:
        name = free_name(term.name, names | distinct.keys()) if term.name in distinct else term.name
        distinct[name] = replace(term, name=name)
    return tuple(distinct.values())
