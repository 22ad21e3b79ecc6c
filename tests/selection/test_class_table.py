"""The information in predicted classes, against tables and searches by hand."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from limbeck.errors import UserError
from limbeck.selection import calibrated_probabilities, class_table, informed_probabilities, teacher_share

CLASSES, ROWS = 5, 600


def rows(seed=0, sure=3.0, right=0.8):
    """Labels, and logits that are right on a share of them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (ROWS,), generator=generator)
    other = (labels + 1 + torch.randint(CLASSES - 1, (ROWS,), generator=generator)) % CLASSES
    predicted = torch.where(torch.rand(ROWS, generator=generator) < right, labels, other)
    noise = torch.randn(ROWS, CLASSES, generator=generator, dtype=torch.float64)
    return noise + sure * torch.eye(CLASSES, dtype=torch.float64)[predicted], labels


HALF = torch.arange(ROWS) % 2 == 0


def exchanged(logits):
    """Take every class for the next one."""
    return logits.roll(1, dims=1)


def test_the_table_is_counted_with_one_right_row_and_one_of_all_classes():
    logits, labels = rows()
    table = np.eye(CLASSES) + 1 / CLASSES
    for predicted, label in zip(logits.argmax(1).tolist(), labels.tolist(), strict=True):
        table[predicted, label] += 1
    np.testing.assert_allclose(class_table(logits, labels), table / table.sum(1, keepdims=True))
    torch.testing.assert_close(class_table(logits[:0], labels[:0]).sum(1), torch.ones(CLASSES, dtype=torch.float64))


def test_the_temperature_is_the_likeliest_on_the_other_half():
    logits, labels = rows()
    found = informed_probabilities(logits, labels, HALF)
    for part in (HALF, ~HALF):
        z, y, table = logits[~part].numpy(), labels[~part].numpy(), class_table(logits[~part], labels[~part]).numpy()

        def likelihood(t, z=z, y=y, table=table):
            return np.log((softmax(z / t, axis=1) @ table)[np.arange(len(y)), y]).mean()

        spread = (z.max(1, keepdims=True) - z).mean()
        best = max(spread * 10 ** np.linspace(-2, 1, 61), key=likelihood)
        of_truth = (softmax(logits[part].numpy() / best, axis=1) @ table)[np.arange(len(z)), labels[part].numpy()]
        np.testing.assert_allclose(found[part], of_truth, rtol=1e-9)


def test_an_exchange_of_classes_loses_no_information():
    logits, labels = rows()
    straight, moved = (informed_probabilities(z, labels, HALF).log().mean() for z in (logits, exchanged(logits)))
    assert moved == pytest.approx(straight.item(), abs=0.05)
    assert calibrated_probabilities(exchanged(logits), labels, HALF).log().mean() < straight - 0.5


def test_the_share_of_a_teacher_that_exchanges_classes_is_that_of_its_information():
    (teacher, labels), (student, _) = rows(right=0.95), rows(sure=1.0, right=0.6)
    shares = {
        by: teacher_share(*(by(z, labels, HALF) for z in (exchanged(teacher), student)))
        for by in (calibrated_probabilities, informed_probabilities)
    }
    assert shares[calibrated_probabilities] < 0.2
    assert shares[informed_probabilities] > 0.9


@pytest.mark.parametrize("constant", [0.0, 7.0])
def test_equal_logits_are_near_chance(constant):
    labels = torch.arange(ROWS) // 2 % CLASSES
    p = informed_probabilities(torch.full((ROWS, CLASSES), constant), labels, HALF)
    # All rows are predicted to be one class: the table knows nothing of the others but its two added counts.
    assert p.min() > 0.5 / CLASSES
    assert p.max() < 1.2 / CLASSES


def test_one_empty_half_is_served_by_the_other():
    logits, labels = rows()
    p = informed_probabilities(logits, labels, torch.ones(ROWS, dtype=torch.bool))
    assert bool(((p > 0) & (p < 1)).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_short_logits_are_computed_in_float64(dtype):
    logits, labels = rows()
    short = logits.to(dtype)
    assert torch.equal(*(informed_probabilities(z, labels, HALF) for z in (short, short.double())))


@pytest.mark.parametrize(
    ("logits", "half", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.bool), "logits: got no rows, expected finite logits"),
        (torch.full((2, 3), torch.nan), torch.tensor([True, False]), "logits: got nan or inf among them"),
        (torch.zeros(2, 3), torch.tensor([1, 0]), r"half: got \(2,\) torch.int64, expected \(2,\) torch.bool"),
        (torch.zeros(2, 3), torch.ones(3).bool(), r"half: got \(3,\) torch.bool, expected \(2,\) torch.bool"),
    ],
)
def test_mistakes(logits, half, message):
    with pytest.raises(UserError, match=message):
        informed_probabilities(logits, torch.zeros(len(logits), dtype=torch.long), half)
