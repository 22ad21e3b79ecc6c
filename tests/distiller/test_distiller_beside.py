"""What stands beside a ``Distiller``'s student: where it is, in which type, and the modes of the student's modules."""

import pytest
import torch
from torch import nn

import limbeck
from limbeck.data import Batch
from limbeck.distiller.selection import collect
from limbeck.methods import create, names
from limbeck.tasks import Classification
from method_batches import CLASSES, SAMPLES, batch, distiller_for, linear_network, staged_network, whole_set

WITH_EXTRAS = ["lw_kd", "ctkd", "dts", "fitnet", "vid", "crd", "reviewkd"]
STAGED = ("fitnet", "vid", "crd", "reviewkd")


def made(name, prepare):
    """A distiller whose networks were prepared before it was made."""
    own = distiller_for(name)
    student, teacher = (
        (staged_network(0, 4), staged_network(1, 6)) if name in STAGED else (linear_network(0), own.teacher)
    )
    arguments = {"num_classes": CLASSES, "epochs": 4, "example": torch.zeros(2, 1, 8, 8), "num_samples": SAMPLES}
    return limbeck.Distiller(prepare(student), prepare(teacher), name, **arguments)


def beside(distiller):
    """Parameters and floating buffers that are not the student's."""
    own = {name for name, _ in distiller.named_parameters() if not name.startswith("student.")}
    own |= {name for name, value in distiller.named_buffers() if not name.startswith("student.")}
    values = {**dict(distiller.named_parameters()), **dict(distiller.named_buffers())}
    return [values[name] for name in own if values[name].is_floating_point()]


@pytest.mark.parametrize("name", WITH_EXTRAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_it_is_made_in_full_precision_and_trains_beside_any_student(name, dtype):
    distiller = made(name, lambda network: network.to(dtype))
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert {value.dtype for value in beside(distiller)} == {expected}
    inputs, labels, indices = batch()
    out = distiller(inputs.to(dtype), labels, indices, epoch=1)
    out.loss.backward()
    assert out.loss.isfinite()
    assert {value.dtype for value in beside(distiller)} == {expected}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in distiller.parameters())


@pytest.mark.parametrize("name", WITH_EXTRAS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_is_never_lowered_with_the_student(name, dtype):
    distiller = distiller_for(name)
    before = [value.clone() for value in beside(distiller)]
    distiller.to(dtype)
    assert {p.dtype for p in distiller.student_parameters()} == {dtype}
    assert all(torch.equal(one, other) for one, other in zip(beside(distiller), before, strict=True))
    assert {value.dtype for value in beside(distiller.double())} == {torch.float64}


@pytest.mark.parametrize("name", ["lw_kd", "ctkd", "dts"])
def test_it_is_made_where_the_student_is(name):
    distiller = made(name, lambda network: network.to("meta"))
    assert {value.device.type for value in beside(distiller)} == {"meta"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", WITH_EXTRAS)
def test_on_a_gpu_it_is_made_there_and_trains(name):
    distiller = made(name, lambda network: network.cuda())
    assert {value.device.type for value in beside(distiller)} == {"cuda"}
    inputs, labels, indices = (part.cuda() for part in batch())
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = distiller(inputs, labels, indices, epoch=1).loss
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in distiller.parameters())


@pytest.mark.parametrize("name", names())
def test_a_batch_without_rows_is_worth_nothing_and_moves_nothing(name):
    distiller = distiller_for(name)
    distiller.student.eval()
    inputs, labels, indices = (part[:0] for part in batch())
    out = distiller(inputs, labels, indices, epoch=1)
    out.loss.backward()
    assert out.loss == 0
    assert all(p.grad is None or not p.grad.any() for p in distiller.student_parameters())


@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8])
@pytest.mark.parametrize("name", ["kd", "dkd", "lw_kd", "lr"])
def test_labels_of_any_whole_type(name, kind):
    distiller = distiller_for(name)
    inputs, labels, _ = batch()
    ends = [distiller(inputs, given, epoch=1).parts["ce"] for given in (labels.to(kind), labels)]
    assert torch.equal(*ends)


def frozen_part():
    """A student in train mode whose batch norm was frozen by its owner."""
    student = staged_network(0, 4).train()
    student[0][1].eval()
    return student


def modes(student):
    return [module.training for module in student.modules()]


@pytest.mark.parametrize("scorer", ["influence", "el2n", "random"])
def test_a_selection_leaves_every_modules_mode(scorer):
    student = frozen_part()
    distiller = limbeck.Distiller(student, staged_network(1, 6), create("select+kd", scorer=scorer))
    before = modes(student), student[0][1].running_mean.clone()
    distiller.select([whole_set()])
    assert modes(student) == before[0]
    assert torch.equal(student[0][1].running_mean, before[1])


def test_a_selection_that_fails_leaves_them_too():
    def failing():
        yield whole_set()
        raise OSError("the disk is gone")

    student = frozen_part()
    distiller = limbeck.Distiller(student, staged_network(1, 6), create("select+kd", scorer="el2n"))
    before = modes(student)
    with pytest.raises(OSError, match="the disk is gone"):
        distiller.select(failing())
    assert modes(student) == before


def test_the_student_is_scored_in_eval_mode():
    student = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, CLASSES))
    inputs, labels, indices = whole_set()

    def teacher_targets(batch):
        return (student(batch.inputs),) * 2

    batches = [Batch(inputs, labels, indices)]
    rows = collect(student, teacher_targets, batches, Classification(), with_features=False)
    assert torch.equal(rows.logits, student.eval()(inputs))
