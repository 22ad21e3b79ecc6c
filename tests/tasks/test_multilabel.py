"""Multi-label classification: rows of two, losses by hand, figures against scikit-learn, methods in ``Distiller``."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch import nn
from torch.nn import functional as F

import limbeck
from limbeck.errors import UserError
from limbeck.tasks import MultiLabel, create


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(6, 4)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(12, 6), torch.randint(2, (12, 4))


def distiller_of(method, **settings):
    return limbeck.Distiller(linear(1), linear(2), limbeck.methods.create(method, **settings), task="multilabel")


@pytest.mark.parametrize("floats", [False, True])
def test_unknown_labels_are_absent(floats):
    targets = torch.tensor([[1, 0, -1], [-100, 1, 0]])
    if floats:
        targets = torch.tensor([[1.0, 0.0, float("nan")], [-1.0, 1.0, 0.0]])
    rows = MultiLabel().rows(torch.arange(6.0).view(2, 3), targets)["main"]
    assert rows.labels.tolist() == [1, 0, -100, -100, 1, 0]
    assert rows.sample.tolist() == [0, 0, 0, 1, 1, 1]
    assert rows.logits.tolist() == [[0, float(z)] for z in range(6)]


def test_the_ground_truth_is_binary_cross_entropy(batch):
    inputs, labels = batch
    labels[::3, 1] = -1
    out = distiller_of("none")(inputs, labels)
    logits, known = out.logits[:, 1].view(12, 4), labels >= 0
    expected = F.binary_cross_entropy_with_logits(logits[known], labels[known].float())
    torch.testing.assert_close(out.parts["ce"], expected)
    out.loss.backward()


def test_kd_is_the_divergence_of_each_sigmoid(batch, dtype):
    inputs, labels = batch
    labels[0] = -1
    distiller = distiller_of("kd", temperature=2.0, alpha=0.5)
    out = distiller(inputs, labels)
    student, teacher = out.logits[:, 1].double() / 2, (linear(2)(inputs)).double().flatten() / 2
    p, q = torch.sigmoid(teacher), torch.sigmoid(student)
    kl = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(out.parts["kd"].double(), 0.5 * 4 * kl.mean(), rtol=1e-4, atol=1e-6)
    half = MultiLabel().rows(out.logits[:, 1].view(12, 4).to(dtype), labels)["main"]
    assert half.logits.dtype == dtype


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("dist", {}),
        ("lr+dist", {}),
        ("dr_kd", {}),
        ("dkd", {}),
        ("lr_ds", {"scorer": "agreement"}),
        ("tf_kd_reg", {}),
        ("tame+kd", {"tau": 2.0}),
    ],
)
def test_methods_on_rows_of_two(batch, method, settings):
    inputs, labels = batch
    labels[::4] = -1
    distiller = distiller_of(method, **settings)
    out = distiller(inputs, labels, epoch=30, indices=torch.arange(12))
    assert out.loss.isfinite()
    out.loss.backward()
    assert distiller.student.weight.grad.isfinite().all()
    assert distiller.student.weight.grad.any()


def test_label_revision_corrects_each_class_of_a_sample(batch):
    inputs, labels = batch
    distiller = distiller_of("lr")
    logits, corrected = distiller.teacher_targets(inputs, labels)
    wrong = logits.argmax(1) != labels.flatten()
    assert bool(wrong.any())
    assert torch.equal(corrected.argmax(1), labels.flatten())
    torch.testing.assert_close(corrected[~wrong], logits[~wrong])


def test_a_batch_without_known_labels_is_finite(batch):
    inputs, labels = batch
    out = distiller_of("kd")(inputs, torch.full_like(labels, -1))
    assert out.parts["ce"] == 0
    assert out.loss.isfinite()


def test_figures_against_scikit_learn():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, (200, 5))
    logits = generator.normal(size=(200, 5)) + truth
    evaluator = create("multilabel", 5).evaluator()
    for start in range(0, 200, 64):
        part = slice(start, start + 64)
        evaluator.update(torch.from_numpy(logits[part]), torch.from_numpy(truth[part]))
    measured = evaluator.compute()
    assert measured.map == pytest.approx(average_precision_score(truth, logits), rel=1e-5)
    assert measured.f1 == pytest.approx(f1_score(truth, logits > 0, average="macro"), rel=1e-5)
    assert measured.label_accuracy == pytest.approx(((logits > 0) == truth).mean(), rel=1e-6)
    p = 1 / (1 + np.exp(-logits))
    assert measured.loss == pytest.approx(-(np.where(truth, np.log(p), np.log(1 - p))).mean(), rel=1e-5)
    assert torch.equal(measured.predictions, torch.from_numpy((logits > 0).astype(np.int64)))


def test_unknown_labels_count_nowhere():
    generator = np.random.default_rng(1)
    truth, logits = generator.integers(0, 2, (100, 3)), generator.normal(size=(100, 3))
    partly = np.where(generator.random((100, 3)) < 0.3, -1, truth)
    evaluator = MultiLabel(3).evaluator()
    evaluator.update(torch.from_numpy(logits), torch.from_numpy(partly))
    known = partly >= 0
    by_class = [average_precision_score(truth[k, c], logits[k, c]) for c, k in enumerate(known.T)]
    measured = evaluator.compute()
    assert measured.map == pytest.approx(np.mean(by_class), rel=1e-5)
    assert measured.label_accuracy == pytest.approx(((logits > 0) == truth)[known].mean(), rel=1e-6)


@pytest.mark.filterwarnings("error")
def test_a_class_without_positives_is_left_out_of_the_mean():
    evaluator = MultiLabel(2).evaluator()
    evaluator.update(torch.tensor([[3.0, 1.0], [-3.0, 1.0]]), torch.tensor([[1, 0], [0, 0]]))
    assert evaluator.compute().map == 1
    none = MultiLabel(2).evaluator()
    none.update(torch.zeros(2, 2), torch.zeros(2, 2).long())
    assert none.compute().map == 0


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(12).long(), r"labels: got \(12,\), expected one a class, \(12, 4\)"),
        (torch.full((12, 4), 2), "labels: got 2, expected 1, 0, or -1 or nan where not known"),
        (torch.full((12, 4), 0.5), "labels: got 0.5, expected 1, 0"),
    ],
)
def test_other_targets_are_refused(batch, targets, message):
    with pytest.raises(UserError, match=message):
        distiller_of("kd")(batch[0], targets)


def test_a_selection_keeps_or_leaves_a_sample_with_all_its_classes(batch):
    inputs, labels = batch
    distiller = distiller_of("select+kd", scorer="agreement", ratio=0.5)
    mask = distiller.select([(inputs, labels, torch.arange(12))])
    assert int(mask.sum()) == 6
    out = distiller(inputs, labels, indices=torch.arange(12))
    rows = out.rows["main"]
    chosen = mask[rows.sample]
    expected = limbeck.losses.kd_loss(rows.logits[chosen], distiller.teacher_targets(inputs, labels)[0][chosen])
    torch.testing.assert_close(out.parts["kd"], 0.9 * expected * chosen.sum() / len(chosen))


def test_a_class_of_which_nothing_is_known_has_no_figures_of_its_own():
    logits, labels = torch.tensor([[3.0, 1.0], [-2.0, 1.0]]), torch.tensor([[1, -1], [0, -1]])
    evaluator = MultiLabel(2).evaluator()
    evaluator.update(logits, labels)
    measured = evaluator.compute()
    assert (measured.map, measured.label_accuracy) == (1.0, 1.0)


def test_large_logits_keep_their_order():
    evaluator = MultiLabel(1).evaluator()
    evaluator.update(torch.tensor([[20.0], [25.0]]), torch.tensor([[0], [1]]))
    assert evaluator.compute().map == 1.0
