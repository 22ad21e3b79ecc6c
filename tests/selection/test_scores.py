import math

import numpy as np
import pytest
import torch

from limbeck.errors import UserError
from limbeck.selection import agreement_scores, confidence_scores, el2n_scores, random_scores


def _probabilities(logits: torch.Tensor) -> np.ndarray:
    exponentials = np.exp(logits.double().numpy())
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(64, 7, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randint(7, (64,), generator=torch.Generator().manual_seed(1))


def test_random_is_a_function_of_seed_and_index_alone():
    scores = random_scores(torch.arange(100), seed=3)
    order = torch.randperm(100)
    assert torch.equal(random_scores(order, seed=3), scores[order])
    assert not torch.equal(random_scores(torch.arange(100), seed=4), scores)


def test_random_is_uniform():
    scores = random_scores(torch.arange(20_000), seed=0)
    shares = torch.histc(scores, bins=10, min=0, max=1) / len(scores)
    assert float(scores.min()) >= 0
    assert float(scores.max()) < 1
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=0.01, rtol=0)


def test_agreement_is_one_plus_the_margin_where_right_else_the_margin(logits, labels):
    expected = []
    for p, y in zip(_probabilities(logits), labels.tolist(), strict=True):
        margin = p[y] - np.delete(p, y).max()
        expected.append((1.0 if p.argmax() == y else 0.0) + margin)
    np.testing.assert_allclose(agreement_scores(logits, labels).numpy(), expected, atol=1e-6)


def test_agreement_puts_every_right_row_above_every_wrong_one(logits, labels):
    scores, right = agreement_scores(logits, labels), logits.argmax(1) == labels
    assert right.any()
    assert (~right).any()
    assert float(scores[right].min()) >= 1
    assert float(scores[~right].max()) <= 0


def test_agreement_counts_a_tie_as_right():
    torch.testing.assert_close(
        agreement_scores(torch.tensor([[2.0, 2.0, 0.0]]), torch.tensor([1])), torch.tensor([1.0])
    )


def test_agreement_of_huge_logits_is_finite():
    scores = agreement_scores(torch.tensor([[1e30, -1e30], [1e30, -1e30]]), torch.tensor([0, 1]))
    assert scores.tolist() == [2.0, -1.0]


def test_confidence_is_the_largest_probability(logits):
    np.testing.assert_allclose(confidence_scores(logits).numpy(), _probabilities(logits).max(axis=1), atol=1e-6)


def test_el2n_is_the_length_of_the_error(logits, labels):
    error = _probabilities(logits) - np.eye(7)[labels.numpy()]
    np.testing.assert_allclose(el2n_scores(logits, labels).numpy(), np.sqrt((error**2).sum(axis=1)), atol=1e-6)


def test_el2n_prefers_the_hard_row():
    easy, hard = el2n_scores(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 0])).tolist()
    assert easy < 0.01
    assert hard == pytest.approx(math.sqrt(2), abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_scored_in_fp32(logits, labels, dtype):
    half = logits.to(dtype)
    for score in (agreement_scores, el2n_scores):
        assert score(half, labels).dtype == torch.float32
        torch.testing.assert_close(score(half, labels), score(half.float(), labels))
    torch.testing.assert_close(confidence_scores(half), confidence_scores(half.float()))


def test_scores_carry_no_gradient(logits, labels):
    logits.requires_grad_()
    assert not agreement_scores(logits, labels).requires_grad
    assert not confidence_scores(logits).requires_grad
    assert not el2n_scores(logits, labels).requires_grad


def test_no_rows_give_no_scores():
    none, labels = torch.empty(0, 5), torch.empty(0, dtype=torch.int64)
    scores = (agreement_scores(none, labels), confidence_scores(none), el2n_scores(none, labels))
    assert [tuple(s.shape) for s in (*scores, random_scores(labels, seed=0))] == [(0,)] * 4


def test_int32_labels_are_accepted(logits, labels):
    torch.testing.assert_close(agreement_scores(logits, labels.int()), agreement_scores(logits, labels))
    torch.testing.assert_close(el2n_scores(logits, labels.int()), el2n_scores(logits, labels))


@pytest.mark.parametrize("score", [agreement_scores, el2n_scores])
@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), r"_logits: got \(3,\) .*, expected float"),
        (torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), r"_logits: got \(3, 2\) torch.int64"),
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), r"labels: got \(2,\) torch.int64, expected 3 whole"),
        (torch.zeros(3, 2), torch.zeros(3), r"labels: got \(3,\) torch.float32, expected 3 whole numbers"),
        (torch.zeros(3, 2), torch.zeros(3, dtype=torch.bool), r"labels: got \(3,\) torch.bool, expected 3 whole"),
        (torch.zeros(2, 2), torch.tensor([0, 2]), "labels: got values from 0 to 2, expected 0 to 1"),
        (torch.zeros(2, 2), torch.tensor([-100, 1]), "labels: got values from -100 to 1, expected 0 to 1"),
    ],
)
def test_wrong_rows_are_refused_in_one_line(score, logits, labels, message):
    with pytest.raises(UserError, match=message) as caught:
        score(logits, labels)
    assert "\n" not in str(caught.value)


def test_wrong_confidence_and_random_input_is_refused():
    with pytest.raises(UserError, match=r"teacher_logits: got \(2, 3, 4\)"):
        confidence_scores(torch.zeros(2, 3, 4))
    with pytest.raises(UserError, match=r"indices: got \(2,\) torch\.float32, expected whole numbers"):
        random_scores(torch.zeros(2), seed=0)
    with pytest.raises(UserError, match=r"indices: got \(2, 2\) .*, expected whole numbers of shape \(N,\)"):
        random_scores(torch.zeros(2, 2, dtype=torch.int64), seed=0)


def test_agreement_needs_a_second_class():
    with pytest.raises(UserError, match="teacher_logits: got 1 class, expected at least 2"):
        agreement_scores(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))
