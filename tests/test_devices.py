"""Targets, modifiers, selection and rows on the device and in the type that ``--device`` and ``--dtype`` name.

Each result is compared with the same on the CPU in float64, which other tests compare with equations.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from limbeck import modifiers, rows, selection, targets

CLASSES = 5


def prior(like: Tensor) -> Tensor:
    """A class's name resembles the next class's most."""
    return torch.eye(CLASSES, device=like.device).roll(1, 0)


def features(logits: Tensor) -> Tensor:
    return torch.cat([logits[:, :2], logits[:, 1:3] * 0.5], dim=1)


def learned(student: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """A temperature that is trained, and the gradient that trains it."""
    modifier = modifiers.LearnedTemperature().to(student.device)
    out = modifier(student, teacher, labels, 0.5)
    return out.student, out.teacher, *torch.autograd.grad(out.student.double().square().mean(), modifier.parameters())


CALLS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor | tuple[Tensor, ...]]] = {
    "rectify": lambda s, t, y: targets.rectify_logits(t, y),
    "revise logits": lambda s, t, y: targets.revise_logits(t, y),
    "revise labels": lambda s, t, y: targets.revise_labels(t, y),
    "truncate": lambda s, t, y: targets.truncate_logits(t, 2),
    "semantic": lambda s, t, y: targets.SemanticTarget(prior(t))(t, y),
    "semantic smoothing": lambda s, t, y: targets.semantic_smoothing(y, prior(t)),
    "virtual": lambda s, t, y: targets.virtual_logits(y, CLASSES),
    "fixed temperature": lambda s, t, y: modifiers.Temperature(3.0)(s, t, y, 0.5)[:2],
    "scheduled temperature": lambda s, t, y: modifiers.ScheduledTemperature().to(s.device)(s, t, y, 0.5)[:2],
    "learned temperature": learned,
    "standardize": lambda s, t, y: modifiers.StandardizeLogits()(s, t, y, 0.5)[:2],
    "agreement": lambda s, t, y: selection.agreement_scores(t, y),
    "confidence": lambda s, t, y: selection.confidence_scores(t),
    "el2n": lambda s, t, y: selection.el2n_scores(s, y),
    "influence": lambda s, t, y: selection.head_influence(
        features(s)[:12], s[:12], t[:12].softmax(1), features(s)[12:], s[12:], y[12:]
    ),
    "choose": lambda s, t, y: selection.choose(selection.agreement_scores(t, y), 0.6, labels=y),
    "choose stratified": lambda s, t, y: selection.choose_stratified(selection.agreement_scores(t, y), 0.6, y),
    "shuffled": lambda s, t, y: selection.shuffled((y % 2).float(), torch.arange(len(y), device=y.device), seed=0),
    "mean of rows": lambda s, t, y: rows.row_mean(rows.full(s).square().mean(1), y),
}


def computed(name: str, *sides: Tensor) -> tuple[Tensor, ...]:
    result = CALLS[name](*sides)
    return (result,) if isinstance(result, Tensor) else tuple(result)


@pytest.mark.parametrize("name", CALLS)
def test_any_device_and_type_gives_what_the_cpu_gives_in_float64(name, device, dtype):
    generator = torch.Generator().manual_seed(0)
    student, teacher = ((3 * torch.randn(20, CLASSES, generator=generator)).to(device, dtype) for _ in range(2))
    labels = torch.randint(CLASSES, (20,), generator=generator).to(device)
    found = computed(name, student, teacher, labels)
    expected = computed(name, student.cpu().double(), teacher.cpu().double(), labels.cpu())
    # What comes back in the logits' own type is rounded to it.
    close = {"rtol": max(1e-4, 2 * torch.finfo(dtype).eps), "atol": 1e-5}
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.device == student.device
        torch.testing.assert_close(ours.cpu().double(), theirs.double(), **close)
