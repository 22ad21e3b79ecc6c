"""The figures of a card, against scikit-learn, torchmetrics' definition written out, and NumPy."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from limbeck.advice import Answers, make_card
from limbeck.errors import UserError


@pytest.fixture(scope="module")
def drawn():
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(5, (300,), generator=generator)
    teacher = 2 * torch.randn(300, 5, generator=generator) + 2 * torch.nn.functional.one_hot(classes, 5)
    student = torch.randn(300, 5, generator=generator) + torch.nn.functional.one_hot(classes, 5)
    return Answers(teacher, classes, student)


def calibration_error(probabilities, classes):
    surest, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    bins = np.ceil(surest * 15).astype(int)
    return sum(abs((right[bins == b] - surest[bins == b]).mean()) * (bins == b).mean() for b in np.unique(bins))


def test_the_figures_of_a_split(drawn):
    figures = make_card(drawn, drawn).held_out
    p, classes = softmax(drawn.teacher.double().numpy(), axis=1), drawn.classes.numpy()
    wrong, student = p.argmax(axis=1) != classes, drawn.student.argmax(dim=1).numpy()
    assert figures.rows == 300
    assert figures.right == pytest.approx(accuracy_score(classes, p.argmax(axis=1)))
    assert figures.nll == pytest.approx(log_loss(classes, p), rel=1e-5)
    assert figures.ece == pytest.approx(calibration_error(p, classes), abs=1e-5)
    assert figures.confidence == pytest.approx(p.max(axis=1).mean())
    assert figures.wrong_confidence == pytest.approx(p[wrong].max(axis=1).mean())
    assert figures.student_right == pytest.approx(accuracy_score(classes, student))
    assert figures.overlap == pytest.approx((student != classes)[wrong].mean())


def test_the_classes_beside_the_true_one(drawn):
    card = make_card(drawn, drawn)
    entropies, spreads = [], []
    for row, label in zip(drawn.teacher.double().numpy(), drawn.classes.numpy(), strict=True):
        rest = np.delete(row, label)
        p = np.exp(rest - logsumexp(rest))
        entropies.append(-(p * np.log(p)).sum() / np.log(4))
        spreads.append(rest.std())
    assert card.entropy == pytest.approx(np.mean(entropies))
    assert card.spread == pytest.approx(np.mean(spreads))
    # At its temperature the mean largest probability lies halfway between 1 / 5 and 1.
    assert softmax(drawn.teacher.numpy() / card.temperature, axis=1).max(axis=1).mean() == pytest.approx(0.6, abs=1e-4)


def test_the_gaps(drawn):
    better = drawn._replace(teacher=drawn.teacher + 9 * torch.nn.functional.one_hot(drawn.classes, 5))
    card = make_card(better, drawn)
    assert card.gap == pytest.approx(card.held_out.right - card.held_out.student_right)
    assert card.overfit == pytest.approx(1 - card.held_out.right, abs=0.02)
    student_wrong = 1 - card.held_out.student_right
    assert card.common == pytest.approx((card.held_out.overlap - student_wrong) / (1 - student_wrong))
    assert card.chance == pytest.approx(drawn.classes.bincount().max().item() / 300)


def test_the_confusions(drawn):
    table = confusion_matrix(drawn.classes, drawn.teacher.argmax(dim=1), normalize="true")
    np.fill_diagonal(table, 0)
    found = make_card(drawn, drawn).confusions
    assert [pair.share for pair in found] == pytest.approx(sorted(table.flatten())[:-4:-1])
    assert all(table[pair.true, pair.taken_for] == pytest.approx(pair.share) for pair in found)


def test_rows_without_a_label_count_nowhere(drawn):
    more = Answers(*(torch.cat([part, part[:7]]) for part in drawn))
    more.classes[300:] = -100
    assert make_card(more, more) == make_card(drawn, drawn)


def test_two_classes_and_few_errors():
    logits, classes = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1])
    card = make_card(Answers(logits, classes, logits), Answers(logits, classes, logits))
    assert (card.entropy, card.held_out.overlap, card.common, card.held_out.wrong_confidence) == (None,) * 4
    assert (card.spread, card.confusions) == (0, ())


def test_bad_rows_are_refused(drawn):
    with pytest.raises(UserError, match="held_out: got no labeled rows, expected at least one"):
        make_card(drawn, drawn._replace(classes=torch.full((300,), -100)))
    with pytest.raises(UserError, match="train.teacher: got nan or inf among them"):
        make_card(drawn._replace(teacher=drawn.teacher.log()), drawn)
