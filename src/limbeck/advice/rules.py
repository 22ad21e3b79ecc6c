"""The rules: from a report card to the methods to try first, each with the figures that it rests on.

The first rule that holds is taken. Thresholds and order were chosen on the teachers of letters and Fashion-MNIST in
docs/claims.md, but for ``right but unsure``, which rests on one teacher of CIFAR-100; docs/advice.md has what they cost
on others. Figures are gains over no teacher, in points of accuracy, means over seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from limbeck.advice.card import Card
from limbeck.selection import RELIABLE


class Figure(NamedTuple):
    """A figure of a card that rules look at.

    Attributes:
        words: What it is.
        of: Reads it; None where the card lacks it.
        above: What bounds on it are added to.
    """

    words: str
    of: Callable[[Card], float | None]
    above: Callable[[Card], float] = lambda _: 0.0


FIGURES = {
    "held_out": Figure(
        "accuracy on held-out rows",
        lambda card: card.held_out.right,
        above=lambda card: card.near_chance,
    ),
    "right": Figure("accuracy on training rows", lambda card: card.train.right),
    "surer": Figure("confidence minus accuracy on training rows", lambda card: card.surer),
    "common": Figure("errors in common with the student, beyond chance,", lambda card: card.common),
    "gap": Figure("accuracy on held-out rows minus the student's", lambda card: card.gap),
    "reliability": Figure("measured reliability", lambda card: card.reliability),
}


@dataclass(frozen=True)
class Bound:
    """A condition on a figure.

    Attributes:
        figure: One of ``FIGURES``.
        value: The bound.
        below: Whether the figure lies below it, not at or above it.

    Example:
        >>> Bound("surer", 0.1).words
        'confidence minus accuracy on training rows at least 10 %'
    """

    figure: str
    value: float
    below: bool = False

    def holds(self, card: Card) -> bool:
        """Return whether it holds; not where the card lacks the figure."""
        figure = FIGURES[self.figure]
        now = figure.of(card)
        return now is not None and (now < figure.above(card) + self.value) == self.below

    @property
    def words(self) -> str:
        """The condition."""
        value = "what chance may give" if self.figure == "held_out" else f"{100 * self.value:.3g} %"
        return f"{FIGURES[self.figure].words} {'below' if self.below else 'at least'} {value}"

    def changed(self, card: Card, *, holds: bool) -> str | None:
        """Write what would have to be for the condition to hold, or not to; None where the card lacks the figure."""
        figure = FIGURES[self.figure]
        now = figure.of(card)
        if now is None:
            return None
        bound = "below" if self.below == holds else "at least"
        value = 100 * (figure.above(card) + self.value)
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        return f"{figure.words} were {bound} {value:.3g} % (now {round(100 * now, 1) + 0.0:.1f} %)"


@dataclass(frozen=True)
class Suggestion:
    """A method to try.

    Attributes:
        method: Its name in a comparison, with a label where settings differ from the defaults.
        reason: Why, in one line.
        measured: The figures that this rests on.
        settings: Those that are not the method's defaults.
    """

    method: str
    reason: str
    measured: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """Which methods to try first for teachers of one kind.

    Attributes:
        name: The kind.
        bounds: All of which hold for it; a rule without any holds always.
        about: What the card shows, in words, with the card's figures in braces.
        suggestions: The methods, the best first.
    """

    name: str
    bounds: tuple[Bound, ...]
    about: str
    suggestions: tuple[Suggestion, ...]

    def holds(self, card: Card) -> bool:
        """Return whether the rule is for the teacher of a card."""
        return all(bound.holds(card) for bound in self.bounds)

    @property
    def condition(self) -> str:
        """The bounds in words."""
        return " and ".join(bound.words for bound in self.bounds) or "always"


def _lr_ds(measured: str) -> Suggestion:
    reason = "revises its wrong labels and counts it by its measured reliability, so that it can cost little"
    return Suggestion("lr_ds", reason, measured)


def _weighed_kd(measured: str) -> Suggestion:
    return Suggestion("weigh+kd", "kd, with the weight and temperature that its measured reliability gives", measured)


NO_TEACHER = (
    Suggestion(
        "lw_kd",
        "soft labels of a tiny network, which is trained once on drawn digits, in about a minute",
        "0.0 to +1.2 in 6 settings; training twice as long without a teacher +1.3 to +5.9 in 5",
    ),
    Suggestion("tf_kd_reg", "the same soft label for a whole class; it costs nothing", "-1.4 to +1.0 in 6 settings"),
    Suggestion(
        "dr_kd",
        "a first training of the student, rectified, teaches a second one; it costs that first training",
        "-1.1 to +0.5 in 5 settings",
    ),
)
RULES = (
    Rule(
        "near chance",
        (Bound("held_out", 0.0, below=True),),
        "on held-out rows it is no better than chance, so do without it",
        NO_TEACHER[:2],
    ),
    Rule(
        "right but unsure",
        (Bound("right", 0.95), Bound("surer", -0.3, below=True)),
        "it is right but far less sure: at T = 4 its probabilities are nearly uniform",
        (
            Suggestion(
                "dist",
                "matches relations of probabilities, whose size does not count",
                "+10.2 and +4.8 with one such teacher of CIFAR-100; kd -11.4 and -15.6",
            ),
            Suggestion("lr+dist", "dist, with its wrong labels revised", "+10.1 and +5.3 with that teacher"),
            _lr_ds("+0.5 and +0.8 with that teacher"),
        ),
    ),
    Rule(
        "surer than right",
        (Bound("surer", 0.1),),
        "it is sure of wrong labels, as a teacher is that exchanges classes",
        (
            _lr_ds("-1.1 to +2.1 in 8 regimes, mean +0.5; kd -22.6 to -7.8"),
            Suggestion(
                "lr_ds@tamed",
                "lr_ds at T = 4, with its logits divided until it is as sure as a student may get",
                "+1.8 and -1.4 in 2 regimes",
                {"temperature": 4.0, "max_confidence": "auto"},
            ),
            Suggestion("lr", "revises its wrong labels at full weight", "-4.0 to +3.6 in 8 regimes, mean -0.4"),
        ),
    ),
    Rule(
        "behind the student",
        (Bound("gap", 0.0, below=True),),
        "a student of a few epochs without it is right more often",
        (
            _lr_ds("-0.3 to +2.1 in 10 regimes, mean +0.4; kd -22.6 to -5.9"),
            _weighed_kd("-1.0 to +0.6 in the same, mean -0.1"),
        ),
    ),
    Rule(
        "errors of its own",
        (Bound("common", 0.5, below=True),),
        "it errs where a student of the labels does not, as one that learned wrong labels does",
        (
            _lr_ds("-0.5 to +0.9 in 8 regimes, mean 0.0; kd -20.1 to -9.0"),
            Suggestion(
                "weigh+lr+dist", "lr+dist, with the weight that its measured reliability gives", "+0.2 in 1 regime"
            ),
            _weighed_kd("-1.1 to +0.5 in 8 regimes, mean -0.3"),
        ),
    ),
    Rule(
        "unreliable by measurement",
        (Bound("reliability", RELIABLE, below=True),),
        "students without it explain a part of the labels better",
        (_lr_ds("-0.5 to 0.0 with reliabilities of 8 to 69 %"), _weighed_kd("-1.1 to 0.0 with the same")),
    ),
    Rule(
        "less sure than right",
        (Bound("surer", -0.1, below=True),),
        "it is less sure than right, as one is that learned noisy labels",
        (
            _lr_ds("+0.2 to +2.5 in 5 regimes, mean +1.3; kd -5.9 to -0.2"),
            Suggestion("lr", "revises its wrong labels at full weight", "-0.1 to +2.4 in 5 regimes, mean +1.2"),
            _weighed_kd("+0.2 to +2.4 in 5 regimes, mean +1.2"),
        ),
    ),
    Rule(
        "reliable",
        (),
        "on training rows it is about as sure as right, and no errors of its own stand out",
        (
            Suggestion(
                "dist",
                "matches relations instead of values, which gains the more the better the teacher",
                "+2.0 to +4.2 in 12 regimes, mean +3.2; kd -3.1 to +5.1 in 24, mean +1.0",
            ),
            _weighed_kd("-0.1 to +5.5 in 17 regimes, mean +2.2"),
            _lr_ds("+0.2 to +5.2 in 17 regimes, mean +2.2"),
        ),
    ),
)


def rule_for(card: Card, rules: Sequence[Rule] = RULES) -> Rule:
    """Return the first rule that holds for a card."""
    return next(rule for rule in rules if rule.holds(card))


def changes(card: Card, rules: Sequence[Rule] = RULES) -> tuple[str, ...]:
    """Write what would have to be otherwise for another method to come first, a line for each.

    Args:
        card: The teacher's card.
        rules: The rules, the last of which holds always.
    """
    taken = rule_for(card, rules)
    first = taken.suggestions[0].method
    earlier = [rule for rule in rules[: rules.index(taken)] if rule.suggestions[0].method != first]
    lines = [_if_all(rule, [bound for bound in rule.bounds if not bound.holds(card)], card) for rule in earlier]
    # Without the first bound of each rule that is for the same method, the next one would be taken.
    held = [rule for rule in rules[rules.index(taken) :] if rule.holds(card)]
    other = next((rule for rule in held if rule.suggestions[0].method != first), None)
    if other is not None:
        against = [rule.bounds[0] for rule in held[: held.index(other)]]
        lines.append(_if_all(other, against, card, hold=False))
    return tuple(line for line in lines if line)


def _if_all(rule: Rule, bounds: Sequence[Bound], card: Card, *, hold: bool = True) -> str:
    conditions = [bound.changed(card, holds=hold) for bound in bounds]
    # A teacher that two figures part from is another teacher.
    if None in conditions or (hold and len(conditions) > 1):
        return ""
    return f"{rule.suggestions[0].method} first if {' and '.join(map(str, conditions))}"
