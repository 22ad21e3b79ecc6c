"""Labels of every kind, inputs and outputs of every kind, through ``Distiller`` in classification."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import limbeck
from limbeck.errors import UserError
from limbeck.losses import dkd_loss, kd_loss
from limbeck.targets import rectify_logits
from limbeck.teachers import LiveTeacher

CLASSES = 4


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(6, CLASSES)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(12, 6), torch.randint(CLASSES, (12,))


def distiller_of(method, **settings):
    return limbeck.Distiller(linear(1), linear(2), limbeck.methods.create(method, **settings))


@pytest.mark.parametrize("method", ["kd", "dist", "lr", "dr_kd", "dkd", "nkd", "none"])
def test_soft_labels_that_are_certain_are_hard_ones(method, batch):
    inputs, labels = batch
    distiller = distiller_of(method)
    hard = distiller(inputs, labels, epoch=30)
    soft = distiller(inputs, F.one_hot(labels, CLASSES).float(), epoch=30)
    for name, part in hard.parts.items():
        torch.testing.assert_close(soft.parts[name], part)


def test_soft_labels_enter_the_cross_entropy_whole(batch):
    inputs, labels = batch
    mixed = 0.7 * F.one_hot(labels, CLASSES) + 0.3 * F.one_hot(labels.roll(1), CLASSES)
    distiller = distiller_of("dr_kd")
    out = distiller(inputs, mixed)
    log_p = out.logits.log_softmax(1)
    torch.testing.assert_close(out.parts["ce"], -0.5 * (mixed * log_p).sum(1).mean())
    teacher = rectify_logits(distiller.teacher(inputs, labels), labels)
    (term,) = distiller.method.terms
    torch.testing.assert_close(out.parts[term.name], 0.5 * kd_loss(out.logits, teacher))


@pytest.mark.parametrize("method", ["kd", "dist", "lr", "dr_kd", "revise+dist"])
def test_the_teacher_alone_supervises_a_sample_without_label(method, batch):
    inputs, labels = batch
    partly = labels.clone()
    partly[::3] = -100
    distiller = distiller_of(method)
    out, whole = distiller(inputs, partly), distiller(inputs, labels)
    known = partly != -100
    weight = distiller.method.ce_weight
    torch.testing.assert_close(out.parts["ce"], weight * F.cross_entropy(out.logits[known], labels[known]))
    with torch.no_grad():
        teacher = distiller.teacher(inputs, labels)
    corrected = teacher.clone()
    for target in distiller.method.targets:
        corrected = target(corrected, labels)
    (term,) = distiller.method.terms
    expected = term.weight * term.build(CLASSES)(out.logits, torch.where(known[:, None], corrected, teacher))
    torch.testing.assert_close(out.parts[term.name], expected)
    assert whole.parts.keys() == out.parts.keys()


def test_a_loss_that_needs_labels_leaves_out_the_samples_without(batch):
    inputs, labels = batch
    partly = labels.clone()
    partly[:5] = -100
    out = distiller_of("dkd")(inputs, partly, epoch=30)
    with torch.no_grad():
        teacher = linear(2)(inputs)
    torch.testing.assert_close(out.parts["dkd"], dkd_loss(out.logits[5:], teacher[5:], labels[5:]))


@pytest.mark.parametrize("method", ["kd", "dist", "dkd", "lr_ds@", "lw_kd", "tf_kd_reg", "none"])
def test_a_batch_without_any_label_is_finite(method, batch):
    inputs, labels = batch
    settings = {}
    if method == "lr_ds@":
        method, settings = "lr_ds", {"scorer": "agreement"}
    teacher = linear(2)
    if method == "lw_kd":
        bank = limbeck.teachers.LightweightBank(torch.randn(CLASSES, 2, CLASSES), accuracy=1.0)
        teacher = limbeck.teachers.LightweightTeacher(bank)
    if method == "tf_kd_reg":
        teacher = None
    distiller = limbeck.Distiller(linear(1), teacher, limbeck.methods.create(method, **settings))
    out = distiller(inputs, torch.full_like(labels, -100), epoch=30)
    assert out.parts["ce"] == 0
    assert out.loss.isfinite()
    out.loss.backward()
    if method in ("lw_kd", "tf_kd_reg", "dkd", "none"):
        assert not distiller.student.weight.grad.any()


def test_without_labels_the_student_alone_is_run_in_eval_mode(batch):
    inputs, _ = batch
    distiller = distiller_of("kd")
    with pytest.raises(UserError, match="labels: got None in train mode, expected the ground truth"):
        distiller(inputs)
    out = distiller.eval()(inputs)
    assert torch.equal(out.logits, distiller.student(inputs))
    assert (out.parts, float(out.loss)) == ({}, 0.0)


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([0.5] * 12),
        torch.zeros(12, 3),
        torch.full((12,), 4),
        torch.full((12,), -1),
        torch.zeros(11).long(),
        [0] * 12,
    ],
)
def test_labels_of_another_shape_or_range_are_refused(labels, batch):
    with pytest.raises(UserError, match="labels: got"):
        distiller_of("kd")(batch[0], labels)


@dataclass
class ModelOutput:
    logits: torch.Tensor
    hidden: torch.Tensor


class Encoder(nn.Module):
    """Called as Hugging Face's classifiers are, and returning what they return."""

    def __init__(self, seed):
        super().__init__()
        self.head = linear(seed)

    def forward(self, input_ids, attention_mask=None):
        pooled = (input_ids * attention_mask[..., None]).sum(1)
        return ModelOutput(self.head(pooled), pooled)


@pytest.mark.parametrize("method", ["kd", "dist", "lr", "dr_kd"])
def test_named_inputs_and_outputs_with_logits(method):
    torch.manual_seed(0)
    inputs = {"input_ids": torch.randn(9, 3, 6), "attention_mask": torch.ones(9, 3)}
    labels = torch.randint(CLASSES, (9,))
    distiller = limbeck.Distiller(Encoder(1), Encoder(2), method)
    out = distiller(inputs, labels)
    expected = limbeck.Distiller(linear(1), linear(2), method)(inputs["input_ids"].sum(1), labels)
    assert torch.equal(out.logits, expected.logits)
    torch.testing.assert_close(out.loss, expected.loss)
    out.loss.backward()


def test_an_output_without_logits_is_named():
    class Bare(nn.Module):
        def forward(self, inputs):
            return {"scores": inputs}

    distiller = limbeck.Distiller(Bare(), method="none", num_classes=3)
    with pytest.raises(UserError, match="output: got a mapping with scores, expected a tensor of logits, .logits, or"):
        distiller(torch.zeros(2, 3), torch.tensor([0, 1]))


@pytest.mark.parametrize("method", ["kd", "dist", "dr_kd"])
def test_compiled_with_labels_that_are_partly_absent(method, batch):
    inputs, labels = batch
    labels = labels.clone()
    labels[::4] = -100
    gradients = []
    for compiled in (False, True):
        distiller = distiller_of(method)
        out = (torch.compile(distiller, backend="aot_eager") if compiled else distiller)(inputs, labels)
        out.loss.backward()
        gradients.append((out.loss.detach(), distiller.student.weight.grad))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_teacher_of_half_precision_weights_takes_full_precision_inputs(batch):
    inputs, labels = batch
    teacher = LiveTeacher(linear(2).bfloat16())
    assert teacher(inputs, labels).dtype == torch.bfloat16
    limbeck.Distiller(linear(1), teacher, "kd")(inputs, labels).loss.backward()


def test_a_teacher_with_a_device_of_its_own_stays_there(batch):
    inputs, labels = batch
    teacher = LiveTeacher(linear(2), device="cpu")
    expected = teacher(inputs, labels)
    distiller = limbeck.Distiller(linear(1), teacher, "kd").double()
    assert teacher.network.weight.dtype == torch.float32
    assert torch.equal(teacher(inputs, labels), expected)
    assert distiller.student.weight.dtype == torch.float64
