"""A card and its advice as plain lines."""

from collections.abc import Sequence

from limbeck.advice.card import Card, Confusion, SplitFigures


def card_lines(card: Card, classes: Sequence[str], *, epochs: int, held_out: str, unit: str) -> list[str]:
    """Write a card, aligned.

    Args:
        card: The card.
        classes: The names of a row's classes; without them numbers are written.
        epochs: How long the student was trained.
        held_out: What the held-out samples are.
        unit: What samples are called.

    Example:
        >>> import torch
        >>> from limbeck.advice.card import Answers, make_card
        >>> answers = Answers(torch.eye(4)[:3], torch.tensor([0, 1, 3]), torch.zeros(3, 4))
        >>> lines = card_lines(make_card(answers, answers), (), epochs=5, held_out="validation split", unit="rows")
        >>> [line.split() for line in lines[1:3]]
        [['right', '66.7', '%', '66.7', '%'], ['confidence', '47.5', '%', '47.5', '%']]
    """
    heading = f"{'':42}{f'training ({card.train.rows:,})':>18}{f'held out ({card.held_out.rows:,})':>18}"
    both = [f"  {title:40}{one:>18}{other:>18}" for title, one, other in _split_rows(card)]
    single = [f"  {title:40}{value}" for title, value in _single(card, classes, epochs, unit)]
    held = f"  held out: {held_out}{'; the teacher learned from them' if card.seen else ''}"
    return [heading, *both, *single, held]


def _split_rows(card: Card) -> list[tuple[str, str, str]]:
    def row(title: str, text: "list[str]") -> tuple[str, str, str]:
        return title, text[0], text[1]

    splits = (card.train, card.held_out)
    return [
        row("right", [percent(split.right) for split in splits]),
        row("confidence", [percent(split.confidence) for split in splits]),
        row("confidence on the wrong ones", [percent(split.wrong_confidence) for split in splits]),
        row("ECE", [percent(split.ece) for split in splits]),
        row("NLL", [f"{split.nll:.3f}" for split in splits]),
    ]


def _single(card: Card, classes: Sequence[str], epochs: int, unit: str) -> list[tuple[str, str]]:
    rows = [
        (f"student of {epochs} epochs, held out", _student(card.held_out, card)),
        ("errors in common with it", _common(card)),
        ("classes beside the true one", _others(card)),
        ("confused, held out", _confused(card.confusions, classes)),
    ]
    if card.agreement is not None:
        rows.append(("same class for an augmented view", f"{percent(card.agreement)} of training {unit}"))
    if card.reliability is not None:
        rows.append(("reliability (weight: auto)", f"{percent(card.reliability)} of labels explained better"))
    return rows


def _student(split: SplitFigures, card: Card) -> str:
    direction = "ahead" if card.gap >= 0 else "behind"
    return f"right on {percent(split.student_right)}; the teacher is {abs(100 * card.gap):.1f} points {direction}"


def _common(card: Card) -> str:
    if card.common is None:
        return "too few errors"
    overlap = f"{percent(card.held_out.overlap)} of its errors"
    return f"{overlap}; beyond chance {percent(card.common)}"


def _others(card: Card) -> str:
    entropy = "" if card.entropy is None else f"entropy {percent(card.entropy)} of the largest, "
    return f"{entropy}spread {card.spread:.2f}; T = {card.temperature:.2g} shows them"


def _confused(confusions: Sequence[Confusion], classes: Sequence[str]) -> str:
    def name(number: int) -> str:
        return classes[number] if number < len(classes) else str(number)

    found = [f"{name(pair.true)} as {name(pair.taken_for)} {percent(pair.share)}" for pair in confusions]
    return ", ".join(found) or "none"


def percent(share: float | None) -> str:
    """Write a share in percent, and a dash for none.

    Example:
        >>> percent(0.1234), percent(None)
        ('12.3 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"
