"""``limbeck advise``: a teacher's report card, and which methods to try first with it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from limbeck.advice.brief_student import HeldOut, batches_of, brief_epochs, brief_student, held_out
from limbeck.advice.card import Card, make_card
from limbeck.advice.lines import card_lines
from limbeck.advice.measuring import TeacherPass, sees
from limbeck.advice.rules import NO_TEACHER, Suggestion, changes, rule_for
from limbeck.build.checks import check_method, check_student
from limbeck.build.context import Context
from limbeck.build.proxies import has_kept_proxies
from limbeck.build.reporting import Reporting
from limbeck.build.shared import Shared
from limbeck.build.teachers import build_teacher
from limbeck.errors import UserError
from limbeck.randomness.seeding import generators_kept
from limbeck.recipes.loading import load_recipe
from limbeck.recipes.method_settings import CompareSettings, MethodSettings, without_label
from limbeck.recipes.schema import Recipe

CONTROLS = ("none", "kd")
_SEEN = (
    "the teacher is measured on rows that it learned from: data.validation=0.1 keeps some from it, in runs as well as"
    " here"
)


@dataclass(frozen=True)
class Advised:
    """What a teacher is like, and what to try first with it.

    Attributes:
        card: The teacher's report card; None for a recipe without a teacher of its own.
        rule: The name of the rule that was taken, see :mod:`limbeck.advice.rules`.
        advice: The methods to try, the best first; ``none`` and ``kd`` belong beside them.
        changes: What would have to be otherwise for another method to come first.
        notes: Methods that were left out, and why.
        command: The comparison to run.
        lines: All of it as text.
    """

    card: Card | None
    rule: str
    advice: tuple[Suggestion, ...]
    changes: tuple[str, ...]
    notes: tuple[str, ...]
    command: str
    lines: tuple[str, ...]

    @property
    def figures(self) -> dict[str, Any]:
        """All of it but the text, as JSON takes it."""
        card = None if self.card is None else asdict(self.card) | _derived(self.card)
        advice = [{**asdict(suggestion), "settings": dict(suggestion.settings)} for suggestion in self.advice]
        rest = {"changes": list(self.changes), "notes": list(self.notes), "command": self.command}
        return {"card": card, "rule": self.rule, "advice": advice, **rest}


def _derived(card: Card) -> dict[str, Any]:
    confusions = [pair._asdict() for pair in card.confusions]
    derived = {"gap": card.gap, "overfit": card.overfit, "surer": card.surer, "common": card.common}
    return {**derived, "near_chance": card.near_chance, "confusions": confusions}


def advise(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    overrides: Mapping[str, Any] | None = None,
    student_epochs: int | None = None,
    reliability: bool = False,
    reporting: Reporting | None = None,
    trust: bool = False,
) -> Advised:
    """Measure a recipe's teacher beside a student that is trained briefly on the labels, and advise on methods.

    The teacher is trained first if the recipe trains it, and kept as a run keeps it; so is the student. Both are run on
    at most 2,000 training samples and 2,000 of the validation split; without one a fifth of the training split is
    held out from the student. The test split is not looked at. A recipe without a teacher is advised on methods that
    need none, and nothing is trained.

    Args:
        recipe: A YAML file, the name of a packaged recipe, a mapping, or a recipe.
        overrides: Values by dotted key, such as ``{"training.epochs": 5}``.
        student_epochs: How long the student is trained; by default a quarter of the recipe's epochs.
        reliability: Whether the reliability that ``weight: auto`` has is measured as well, for which two students are
            trained on half of the data each, as long as a run, and kept for the runs that need them. Where they are
            kept already, it is measured in any case.
        reporting: Where lines and progress go; nowhere by default.
        trust: Whether the recipe may name any ``python:`` function, see :func:`limbeck.recipes.trust.check_trust`.

    Returns:
        The card and the advice.

    Raises:
        UserError: If the recipe, its data or its networks cannot be used, or its task runs a teacher only on what
            the student finds, as detection does.
        RunError: If a training fails.

    Example:
        >>> import limbeck
        >>> recipe = {"data": {"name": "fashion_mnist_sample", "train_limit": 200}, "student": "resnet8"}
        >>> advised = limbeck.advise(recipe)
        >>> [suggestion.method for suggestion in advised.advice]
        ['lw_kd', 'tf_kd_reg', 'dr_kd']
        >>> advised.command
        'limbeck compare RECIPE --methods none,lw_kd,tf_kd_reg,dr_kd --seeds 3'
    """
    given = load_recipe(recipe, overrides, trust=trust)
    named = str(recipe) if isinstance(recipe, str | Path) else "RECIPE"
    command = [named, *(f"{key}={_written(value)}" for key, value in (overrides or {}).items())]
    with generators_kept():
        if not _has_teacher(given):
            if given.teacher.source != "auto":
                # Each of the methods without a teacher of the recipe has another kind of its own.
                given = load_recipe(given, {"teacher.source": "auto"}, trust=True)
                command = [word for word in command if not word.startswith("teacher.source=")]
                command.append("teacher.source=auto")
            return _Advising(given, command, reporting or Reporting()).without_teacher()
        advising = _Advising(given, command, reporting or Reporting())
        return advising.with_teacher(student_epochs, reliability=reliability)


def _has_teacher(recipe: Recipe) -> bool:
    teacher = recipe.teacher
    return teacher.source in ("auto", "live") and (teacher.name is not None or bool(teacher.members))


def _written(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("...\n").strip()


class _Advising:
    """One recipe, its data and networks."""

    def __init__(self, given: Recipe, command: Sequence[str], reporting: Reporting) -> None:
        self.given, self.command, self.reporting = given, command, reporting
        self.shared = Shared(keep_teachers=True)

    @cached_property
    def student(self) -> nn.Module:
        """The student, checked; it stays as it is."""
        context = self._context(MethodSettings(name="none"))
        student = context.student().module
        check_student(context, student)
        return student

    def _context(self, method: MethodSettings) -> Context:
        changes = {"method": method, "compare": CompareSettings()}
        return Context(self.given.model_copy(update=changes), self.shared)

    def without_teacher(self) -> Advised:
        """Advise on methods that make their own teacher, or need none."""
        advice, notes = self._possible(NO_TEACHER)
        about = "the recipe has no teacher: these methods need none"
        return self._advised(None, "no teacher", advice, (), notes, [f"{about}; a good teacher is worth more"])

    def with_teacher(self, student_epochs: int | None, *, reliability: bool) -> Advised:
        """Measure the teacher, and advise on what to do with it."""
        context = self._context(MethodSettings(name="weigh+kd"))
        self._check(context)
        training, part = self.given.training, held_out(context.data)
        epochs = brief_epochs(training, batches_of(training, part), student_epochs)
        teacher = build_teacher(context, self.reporting).teacher
        assert teacher is not None
        student = brief_student(context, part, epochs, self.reporting)
        card = self._card(context, TeacherPass(context, teacher, student), part, reliability=reliability)
        rule = rule_for(card)
        advice, notes = self._possible(rule.suggestions)
        if card.seen:
            notes = (*notes, _SEEN)
        head = self._card_lines(context, card, part, epochs)
        shown = [*head, "", f"{rule.name}: {rule.about}"]
        return self._advised(card, rule.name, advice, changes(card), notes, shown)

    def _check(self, context: Context) -> None:
        if context.task.by_parts:
            why = "runs the teacher only on what the student finds, so that there is no card of it"
            compared = "limbeck compare RECIPE --methods none,kd,dist"
            raise UserError(f"advise: task {context.task.name!r} {why}; compare methods themselves: {compared}")
        check_method(self._context(MethodSettings(name="kd")), self.student)

    def _card(self, context: Context, measured: TeacherPass, part: HeldOut, *, reliability: bool) -> Card:
        several = context.task.several_rows or context.task.stores_maps
        weighed = reliability or has_kept_proxies(context)
        self.reporting.log("measuring the teacher")
        return make_card(
            measured.answers(part.data.train),
            measured.answers(part.samples),
            several_rows=several,
            seen=sees(context, part),
            agreement=measured.agreement(),
            reliability=measured.reliability(self.reporting) if weighed else None,
        )

    def _card_lines(self, context: Context, card: Card, part: HeldOut, epochs: int) -> list[str]:
        teacher = self.given.teacher
        name = teacher.name or f"{len(teacher.members)} teachers averaged"
        cut = f"{len(part.samples):,} training {part.data.unit} that the student did not learn from"
        where = cut if part.is_cut else f"validation split, {len(part.samples):,} {part.data.unit}"
        classes = context.data.classes if card.classes == len(context.data.classes) else ()
        title = f"report card of teacher {name} for student {self.given.student.name}"
        return [title, *card_lines(card, classes, epochs=epochs, held_out=where, unit=part.data.unit)]

    def _possible(self, suggestions: Sequence[Suggestion]) -> tuple[tuple[Suggestion, ...], tuple[str, ...]]:
        """Return the suggestions that can be run, and a line for each of the others."""
        possible, notes = [], []
        for suggestion in suggestions:
            try:
                settings = {"name": without_label(suggestion.method), **suggestion.settings}
                check_method(self._context(MethodSettings.model_validate(settings)), self.student)
            except UserError as error:
                notes.append(f"{suggestion.method} cannot be run here: {error}")
            else:
                possible.append(suggestion)
        return tuple(possible), tuple(notes)

    def _advised(
        self,
        card: Card | None,
        rule: str,
        advice: tuple[Suggestion, ...],
        others: tuple[str, ...],
        notes: tuple[str, ...],
        head: Sequence[str],
    ) -> Advised:
        controls = CONTROLS if card is not None else CONTROLS[:1]
        command = _command(self.command, [*controls, *(one.method for one in advice)], advice)
        lines = [*head, *_advice_lines(advice), f"  beside {' and '.join(controls)}, as controls", *notes]
        lines += ["", "what would change that:", *(f"  {line}" for line in others)] if others else []
        return Advised(card, rule, advice, others, notes, command, (*lines, "", command))


def _advice_lines(advice: Sequence[Suggestion]) -> list[str]:
    lines = ["try first (gains over no teacher in points of accuracy, docs/claims.md):"]
    for number, one in enumerate(advice, start=1):
        lines += [f"  {number}. {one.method:14} {one.reason}", f"{'':20}{one.measured}"]
    return lines


def _command(words: Sequence[str], methods: Sequence[str], advice: Sequence[Suggestion]) -> str:
    settings = [f"compare.settings.{s.method}.{key}={_written(v)}" for s in advice for key, v in s.settings.items()]
    return shlex.join(["limbeck", "compare", *words, "--methods", ",".join(methods), "--seeds", "3", *settings])
