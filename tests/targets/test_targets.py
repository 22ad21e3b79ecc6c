"""Corrections of the teacher: the published vectors, and the properties that the papers claim."""

import pytest
import torch
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.targets import rectify_logits, revise_labels, revise_logits, virtual_logits, virtual_probabilities

TEACHER = torch.tensor([[3.0, 0.5, 0.2, -2.0], [1.0, -1.0, 0.0, 2.0], [0.0, 1.0, 4.0, 2.0]])
LABELS = torch.tensor([0, 2, 1])


@pytest.fixture
def many():
    generator = torch.Generator().manual_seed(1)
    return 3 * torch.randn(200, 10, generator=generator), torch.randint(10, (200,), generator=generator)


def test_rectify_vector():
    expected = torch.tensor([[3.0, 0.5, 0.2, -2.0], [1.0, -1.0, 2.0, 0.0], [0.0, 4.0, 1.0, 2.0]])
    assert torch.equal(rectify_logits(TEACHER, LABELS), expected)


def test_dr_kd_vector():
    student = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.5, 0.0, 1.5, -0.5], [0.0, 3.0, 1.0, 2.0]], dtype=torch.float64)
    target_logits = rectify_logits(TEACHER.double(), LABELS)
    kl = F.kl_div(
        (student / 6).log_softmax(1), (target_logits / 6).log_softmax(1), log_target=True, reduction="none"
    ).mean()
    ce = F.cross_entropy(student, LABELS)
    assert ce.item() == pytest.approx(0.475462, abs=1e-6)
    assert kl.item() == pytest.approx(0.00135617, abs=1e-8)
    assert (0.05 * ce + 0.95 * 36 * 50 * kl).item() == pytest.approx(2.342824, abs=1e-5)


def test_rectified_rows_are_right_keep_their_values_and_stay_put_a_second_time(many):
    logits, labels = many
    rectified = rectify_logits(logits, labels)
    assert torch.equal(rectified.argmax(1), labels)
    assert torch.equal(rectified.sort(1).values, logits.sort(1).values)
    assert torch.equal(rectify_logits(rectified, labels), rectified)
    right = logits.argmax(1) == labels
    assert torch.equal(rectified[right], logits[right])


def test_a_tie_with_the_true_class_is_no_mistake():
    tied = torch.tensor([[2.0, 2.0, 1.0]])
    for label in (0, 1):
        assert torch.equal(rectify_logits(tied, torch.tensor([label])), tied)
        assert torch.equal(revise_logits(tied, torch.tensor([label])), tied)


def test_revise_vector():
    revised = revise_labels(TEACHER.double(), LABELS)
    expected = torch.tensor([[0.121730, 0.016474, 0.530898, 0.330898], [0.006804, 0.571462, 0.371462, 0.050272]])
    torch.testing.assert_close(revised[1:], expected.double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(revised[0], TEACHER[0].double().softmax(0))


@pytest.mark.parametrize("eta", [0.1, 0.8, 0.99])
def test_revised_rows_lead_by_one_minus_eta_and_keep_the_other_ratios(many, eta):
    logits, labels = (many[0].double(), many[1])
    revised, before = revise_labels(logits, labels, eta=eta), logits.softmax(1)
    wrong = logits.argmax(1) != labels
    torch.testing.assert_close(revised.sum(1), torch.ones(200, dtype=torch.float64))
    lead = revised.gather(1, labels[:, None]) - revised.gather(1, logits.argmax(1, keepdim=True))
    torch.testing.assert_close(lead[wrong, 0], torch.full((int(wrong.sum()),), 1 - eta, dtype=torch.float64))
    others = wrong[:, None] & (torch.arange(10) != labels[:, None])
    ratio = torch.where(others, revised / before, torch.nan)
    assert (ratio.nan_to_num(-1).amax(1) - ratio.nan_to_num(9).amin(1))[wrong].max() < 1e-9
    assert torch.equal(revise_logits(logits, labels, eta=eta)[~wrong], logits[~wrong])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_revision_never_reaches_minus_infinity(dtype):
    logits = torch.tensor([[1e4, -1e4, 0.0]]).to(dtype)
    revised = revise_logits(logits, torch.tensor([1]))
    assert revised.dtype == torch.float32
    assert revised.isfinite().all()
    assert revised.softmax(1)[0, 1] == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize("correct", [rectify_logits, revise_logits, revise_labels])
def test_the_teachers_tensor_is_not_written_to(correct, many):
    logits, labels = many
    before = logits.clone()
    correct(logits, labels)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("correct", [rectify_logits, revise_logits])
def test_compiles_as_one_graph(correct, many):
    compiled = torch.compile(correct, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*many), correct(*many))


def test_virtual_teacher():
    p = virtual_probabilities(torch.tensor([2, 0]), 4, correct=0.97)
    torch.testing.assert_close(p, torch.tensor([[0.01, 0.01, 0.97, 0.01], [0.97, 0.01, 0.01, 0.01]]))
    torch.testing.assert_close(virtual_logits(torch.tensor([2, 0]), 4, correct=0.97).softmax(1), p)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: revise_labels(TEACHER, LABELS, eta=1.0), "eta: got 1.0, expected a number between 0 and 1"),
        (lambda: revise_labels(TEACHER, LABELS, eta=0.0), "eta: got 0.0, expected a number between 0 and 1"),
        (lambda: revise_labels(TEACHER, LABELS[:2]), "labels: got (2,) torch.int64, expected 3 whole numbers"),
        (lambda: rectify_logits(TEACHER[0], LABELS), "teacher_logits: got (4,) torch.float32, expected float logits"),
        (lambda: virtual_probabilities(LABELS, 1), "num_classes: got 1, expected at least 2"),
        (lambda: virtual_probabilities(LABELS, 3, correct=1.0), "correct: got 1.0, expected a number between"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(UserError) as error:
        call()
    assert message in str(error.value)
