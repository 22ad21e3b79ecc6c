"""Losses of features: values against NumPy in float64, gradients, precision, extremes, weights, compile."""

import copy
import pickle

import feature_references as reference
import numpy as np
import pytest
import torch
from torch import nn

from limbeck.losses import features
from limbeck.losses.features import (
    ATLoss,
    CRDLoss,
    FitNetLoss,
    PKTLoss,
    ReviewKDLoss,
    RKDLoss,
    SPLoss,
    VIDLoss,
    at_loss,
    hierarchical_context_loss,
    mimic_loss,
    pkt_loss,
    rkd_loss,
    sp_loss,
)

LOSSES = [FitNetLoss, ATLoss, SPLoss, RKDLoss, PKTLoss, VIDLoss, CRDLoss, ReviewKDLoss]
STUDENT, TEACHER = [(3, 6, 6), (4, 3, 3)], [(5, 6, 6), (6, 3, 3)]
SAMPLES = 40


def batches(shapes, n=7, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, *shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def made(loss, student=STUDENT, teacher=TEACHER, dtype=torch.float64, **settings):
    torch.manual_seed(0)
    return loss(student, teacher, num_samples=SAMPLES, **settings).to(dtype)


def called(loss, student, teacher, weight=None, seed=1):
    """Call with labels and indices; what a loss draws is the same every time, and its memory does not move."""
    torch.manual_seed(seed)
    n = len(student[0])
    loss = copy.deepcopy(loss)
    return loss(student, teacher, torch.arange(n) % 3, weight, torch.arange(n) * 3)


WEIGHTS = {"all": None, "mask": [1, 0, 1, 1, 0, 1, 1], "whole": [2, 1, 0, 3, 1, 1, 2], "none": [0] * 7}
FUNCTIONS = {
    "mimic": (mimic_loss, reference.mimic, (4, 5, 5)),
    "at": (at_loss, reference.at, (4, 5, 5)),
    "at p=1": (lambda s, t, **k: at_loss(s, t, power=1, **k), lambda s, t, w: reference.at(s, t, w, 1), (6, 3, 7)),
    "sp": (sp_loss, reference.sp, (6, 3, 7)),
    "rkd": (rkd_loss, reference.rkd, (2, 3)),
    "rkd of samples far apart": (
        lambda s, t, **k: rkd_loss(50 * s, 50 * t, **k),
        lambda s, t, w: reference.rkd(s, t, w, nearest=1e-9),
        (2, 3),
    ),
    "rkd other weights": (
        lambda s, t, **k: rkd_loss(s, t, distance=1, angle=2, **k),
        lambda s, t, w: reference.rkd(s, t, w, 1, 2),
        (9,),
    ),
    "rkd distances": (
        lambda s, t, **k: rkd_loss(s, t, distance=1, angle=0, **k),
        lambda s, t, w: reference.rkd(s, t, w, 1, 0),
        (9,),
    ),
    "pkt": (pkt_loss, reference.pkt, (9,)),
    "hierarchical context": (hierarchical_context_loss, reference.hierarchical_context, (4, 5, 5)),
    "hierarchical context of a large map": (hierarchical_context_loss, reference.hierarchical_context, (4, 9, 8)),
    "hierarchical context of a pixel": (hierarchical_context_loss, reference.hierarchical_context, (4, 1, 1)),
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_equal_their_equations(name, weights):
    function, expected, other = FUNCTIONS[name]
    same = name.startswith(("mimic", "hierarchical"))
    (student,), (teacher,) = batches([other if same else (4, 5, 5)]), batches([other], seed=1)
    if name.startswith("rkd") or name == "pkt":
        student = student.mean((2, 3))
    weight = None if WEIGHTS[weights] is None else torch.tensor(WEIGHTS[weights])
    plain = np.ones(7) if weight is None else weight.double().numpy()
    value = function(student, teacher, weight=weight).item()
    assert value == pytest.approx(expected(student.numpy(), teacher.numpy(), plain), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("loss", [FitNetLoss, VIDLoss])
def test_losses_with_learned_layers_equal_their_equations(loss, weights):
    module = made(loss, [(3, 6, 6)], [(5, 4, 7)])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    (student,), (teacher,) = batches([(3, 6, 6)]), batches([(5, 4, 7)], seed=1)
    arrays = [parameter.detach().numpy() for parameter in module.parameters()]
    if loss is FitNetLoss:
        settings = {"kernel": arrays[0][:, :, 0, 0], "bias": arrays[1]}
    else:
        settings = {"alpha": arrays[0], "kernels": [kernel[:, :, 0, 0] for kernel in arrays[1:]]}
    weight = None if WEIGHTS[weights] is None else torch.tensor(WEIGHTS[weights])
    plain = np.ones(7) if weight is None else weight.double().numpy()
    expected = getattr(reference, loss.__name__.lower()[:-4])(student.numpy(), teacher.numpy(), plain, **settings)
    assert module([student], [teacher], weight=weight).item() == pytest.approx(expected, rel=1e-9)


def test_vid_begins_with_the_variance_that_is_set():
    module = VIDLoss([(2,)], [(3,)], variance=0.5).double()
    zeros = torch.zeros(4, 2, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64)
    assert module([zeros[0]], [zeros[1]]).item() == pytest.approx(np.log(0.5) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "function", "pools"),
    [(ATLoss, at_loss, False), (SPLoss, sp_loss, False), (RKDLoss, rkd_loss, True), (PKTLoss, pkt_loss, True)],
)
def test_modules_add_their_functions_up_over_the_layers(loss, function, pools):
    student, teacher, weight = batches(STUDENT), batches(TEACHER, seed=1), torch.arange(7) % 3
    expected = 0
    for one, other in zip(student, teacher, strict=True):
        pair = (one.mean((2, 3)), other.mean((2, 3))) if pools else (one, other)
        expected = expected + function(*pair, weight=weight)
    torch.testing.assert_close(made(loss)(student, teacher, weight=weight), expected)


def test_reviewkd_is_its_figure_written_out():
    module = made(ReviewKDLoss).eval()
    student, teacher = batches(STUDENT), batches(TEACHER, seed=1)
    shallow, deep, vector = module.fusions
    bn = lambda maps, norm: maps / np.sqrt(1 + norm.eps)  # noqa: E731 - untrained statistics
    # The classifier's vectors: the last maps, which lie in front of their ReLU, averaged behind it.
    one, other = (maps[1].clamp_min(0).mean((2, 3), keepdim=True) for maps in (student, teacher))
    fused = bn(vector.reduce[0](one), vector.reduce[1])
    total = hierarchical_context_loss(bn(vector.expand[0](fused), vector.expand[1]), other)
    for fusion, own, other in ((deep, student[1], teacher[1]), (shallow, student[0], teacher[0])):
        mixed = bn(fusion.reduce[0](own), fusion.reduce[1])
        up = fused.repeat_interleave(own.shape[2] // fused.shape[2], 2).repeat_interleave(
            own.shape[3] // fused.shape[3], 3
        )
        share = torch.sigmoid(fusion.attention(torch.cat([mixed, up], 1)))
        fused = mixed * share[:, 0, None] + up * share[:, 1, None]
        total = total + hierarchical_context_loss(bn(fusion.expand[0](fused), fusion.expand[1]), other)
    torch.testing.assert_close(module(student, teacher), total)


def test_reviewkd_interpolates_to_teacher_maps_of_other_sizes():
    loss = ReviewKDLoss([(3, 8, 8), (4, 4, 4)], [(5, 6, 6), (6, 7, 7)], embedding=False)
    value = loss(batches([(3, 8, 8), (4, 4, 4)], dtype=torch.float32), batches([(5, 6, 6), (6, 7, 7)]))
    assert value.isfinite()
    assert len(loss.fusions) == 2


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient(loss):
    module, teacher = made(loss, [(2, 3, 3)], [(3, 3, 3)]), batches([(3, 3, 3)], n=4, seed=1)
    (student,) = batches([(2, 3, 3)], n=4)
    # CRD's constants are those of its first batch, and no function of any later one.
    module([student], teacher, indices=torch.arange(4))
    module.eval()
    weight = torch.arange(4, dtype=torch.float64)
    student.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda s: called(module, [s], teacher, weight), student)


@pytest.mark.parametrize("loss", [FitNetLoss, VIDLoss, CRDLoss, ReviewKDLoss])
def test_learned_layers_are_trained(loss):
    module = made(loss, dtype=torch.float32)
    student = [feature.requires_grad_(True) for feature in batches(STUDENT, dtype=torch.float32)]
    module(student, batches(TEACHER, seed=1), torch.arange(7) % 3, None, torch.arange(7)).backward()
    assert list(module.parameters())
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())
    assert all(feature.grad.any() for feature in student)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_full(loss, dtype):
    module = made(loss, dtype=torch.float32).eval()
    student = [feature.requires_grad_(True) for feature in batches(STUDENT, dtype=dtype)]
    teacher = batches(TEACHER, seed=1, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = called(module, student, teacher)
    assert value.dtype == torch.float32
    value.backward()
    assert all(feature.grad.dtype == dtype for feature in student)
    full = called(module.double(), [f.detach().double() for f in student], [f.double() for f in teacher])
    torch.testing.assert_close(value.double(), full, rtol=2e-4, atol=1e-6)


# CRD draws its negatives, on each device others.
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss is not CRDLoss])
def test_any_device_and_type_gives_what_the_cpu_gives_in_float64(loss, device, dtype):
    student, teacher = ([x.to(device, dtype) for x in batches(shapes)] for shapes in (STUDENT, TEACHER))
    found = called(made(loss, dtype=torch.float32).to(device), student, teacher)
    expected = called(made(loss), [x.cpu().double() for x in student], [x.cpu().double() for x in teacher])
    assert found.device == student[0].device
    torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_in_half_precision_itself(loss):
    module = made(loss, dtype=torch.bfloat16)
    value = called(module, batches(STUDENT, dtype=torch.bfloat16), batches(TEACHER, seed=1, dtype=torch.bfloat16))
    assert value.dtype == torch.float32
    assert value.isfinite()


EXTREMES = {
    "huge": lambda x: torch.where(torch.arange(x.numel()).view_as(x) % 3 == 0, 1e4, -1e4),
    "constant": torch.ones_like,
    "zero": torch.zeros_like,
    "two rows alike": lambda x: torch.cat([x[:1], x[:1], x[2:]]),
    "one row zero": lambda x: torch.cat([torch.zeros_like(x[:1]), x[1:]]),
    "small": lambda x: x * 1e-6,
    "nearly nothing": lambda x: x * 1e-30,
    "far away": lambda x: x + 1e4,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("whose", ["student", "teacher", "both"])
@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradient_are_finite_at_extremes(loss, extreme, whose, dtype):
    student, teacher = batches(STUDENT, dtype=torch.float32), batches(TEACHER, seed=1, dtype=torch.float32)
    student = [EXTREMES[extreme](f) for f in student] if whose != "teacher" else student
    teacher = [EXTREMES[extreme](f).to(dtype) for f in teacher] if whose != "student" else teacher
    student = [f.to(dtype).requires_grad_(True) for f in student]
    value = called(made(loss, dtype=torch.float32), student, teacher)
    value.backward()
    assert value.isfinite()
    # A gradient beyond fp16's range is the format's limit; NaN never is.
    assert not any(f.grad.isnan().any() for f in student)
    assert dtype == torch.float16 or all(f.grad.isfinite().all() for f in student)


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_few_rows_are_finite(loss, n):
    student = [f.requires_grad_(True) for f in batches(STUDENT, n, dtype=torch.float32)]
    value = called(made(loss, dtype=torch.float32), student, batches(TEACHER, n, seed=1, dtype=torch.float32))
    value.backward()
    assert value.isfinite()
    assert all(f.grad.isfinite().all() for f in student)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_row_counts(loss):
    student = [f.requires_grad_(True) for f in batches(STUDENT)]
    value = called(made(loss), student, batches(TEACHER, seed=1), torch.zeros(7))
    value.backward()
    assert value.item() == 0
    assert not any(f.grad.any() for f in student)


@pytest.mark.parametrize("loss", [FitNetLoss, ATLoss, SPLoss, RKDLoss, PKTLoss, VIDLoss, ReviewKDLoss])
def test_rows_without_weight_are_left_out(loss):
    # In eval mode, as batch norm sees all rows.
    module, student, teacher = made(loss).eval(), batches(STUDENT), batches(TEACHER, seed=1)
    mask = torch.tensor([True, True, False, True, False, True, True])
    some = module([f[mask] for f in student], [f[mask] for f in teacher])
    torch.testing.assert_close(module(student, teacher, weight=mask), some)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_row_of_weight_zero_gets_no_gradient(loss):
    student = [f.requires_grad_(True) for f in batches(STUDENT)]
    called(made(loss).eval(), student, batches(TEACHER, seed=1), torch.arange(7)).backward()
    assert not any(f.grad[0].any() for f in student)
    assert all(f.grad[1:].flatten(1).any(1).all() for f in student)


@pytest.mark.parametrize("loss", LOSSES)
def test_teacher_is_neither_written_to_nor_differentiated(loss):
    teacher = [f.requires_grad_(True) for f in batches(TEACHER, seed=1)]
    before = [f.detach().clone() for f in teacher]
    called(made(loss), [f.requires_grad_(True) for f in batches(STUDENT)], teacher).backward()
    assert all(torch.equal(f, b) and f.grad is None for f, b in zip(teacher, before, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_compiles_as_one_graph_with_the_same_gradients(loss):
    module = made(loss, dtype=torch.float32).eval()
    student, teacher = batches(STUDENT, dtype=torch.float32), batches(TEACHER, seed=1, dtype=torch.float32)
    variables = [*(feature.requires_grad_(True) for feature in student), *module.parameters()]
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    more = torch.arange(7) % 3, torch.arange(7) % 2 == 0, torch.arange(7)
    found = []
    for call in (compiled, module):
        torch.manual_seed(0)
        value = call(student, teacher, *more)
        found.append([value, *torch.autograd.grad(value, variables)])
    assert all(tensor.isfinite().all() for tensor in found[0])
    assert any(gradient.any() for gradient in found[0][1:])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_copies_and_pickles(loss):
    module = made(loss)
    student, teacher = batches(STUDENT), batches(TEACHER, seed=1)
    expected = called(module, student, teacher)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(called(other, student, teacher), expected, rtol=0, atol=0)


@pytest.mark.parametrize("loss", [ATLoss, SPLoss, RKDLoss, PKTLoss])
def test_a_student_that_equals_its_teacher_has_no_loss(loss):
    student = batches(STUDENT)
    assert made(loss, STUDENT, STUDENT)(student, student).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("loss", "change"),
    [
        (ATLoss, lambda f: 7 * f),
        (SPLoss, lambda f: 7 * f),
        (RKDLoss, lambda f: 7 * f + 3),
        (PKTLoss, lambda f: 7 * f),
    ],
)
def test_what_a_relation_does_not_depend_on(loss, change):
    # Far above what counts as next to nothing.
    module, student, teacher = made(loss), [10 * f for f in batches(STUDENT)], batches(TEACHER, seed=1)
    torch.testing.assert_close(module([change(f) for f in student], teacher), module(student, teacher))


@pytest.mark.parametrize("shapes", [([(8,)], [(12,)]), ([(5, 8)], [(5, 12)])], ids=["vectors", "tokens"])
@pytest.mark.parametrize("loss", [FitNetLoss, SPLoss, RKDLoss, PKTLoss, VIDLoss, CRDLoss])
def test_vectors_and_tokens_too(loss, shapes):
    value = called(made(loss, *shapes), batches(shapes[0]), batches(shapes[1], seed=1))
    assert value.isfinite()


def test_attention_of_tokens_is_that_of_the_map_they_make():
    (student,), (teacher,) = batches([(4, 3, 3)]), batches([(6, 3, 3)], seed=1)
    tokens = [f.flatten(2).mT for f in (student, teacher)]
    torch.testing.assert_close(at_loss(*tokens), at_loss(student, teacher))


@pytest.mark.parametrize("loss", [FitNetLoss, ATLoss, VIDLoss])
def test_maps_of_other_sizes_are_averaged_to_the_smaller(loss):
    module = made(loss, [(3, 8, 8)], [(5, 4, 4)])
    (student,), (teacher,) = batches([(3, 8, 8)]), batches([(5, 4, 4)], seed=1)
    small = nn.functional.avg_pool2d(student, 2)
    torch.testing.assert_close(module([student], [teacher]), module([small], [teacher]))


def test_every_loss_is_public():
    assert {loss.__name__ for loss in LOSSES} <= set(features.__all__)
