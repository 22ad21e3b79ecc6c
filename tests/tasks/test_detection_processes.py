"""A distiller of detectors in two processes of DistributedDataParallel: one gradient, whatever each process drew."""

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from limbeck import Distiller, models
from limbeck.tasks import Detection

KINDS = {"regions": (2, "dist+mimic"), "anchors": (1, "kd")}


def stepped(rank, stages, method):
    torch.manual_seed(0)
    student, teacher = (models.create("small_detector", num_classes=3, stages=stages, width=w) for w in (4, 8))
    example = {"images": [torch.zeros(3, 64, 64)] * 2}
    distiller = Distiller(student, teacher, method, task=Detection(3, stages=stages), example=example)
    module, optimizer = DistributedDataParallel(distiller), torch.optim.SGD(distiller.parameters(), lr=0.01)
    # The second process has an image without boxes.
    boxes = torch.tensor([[4.0, 6.0, 30.0, 40.0]])[: 1 - rank]
    target = {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64)}
    torch.manual_seed(rank)
    for _ in range(2):
        out = module({"images": [torch.rand(3, 64, 64)] * 2}, [target] * 2, torch.tensor([0, 1]), 0)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    return {name: part.detach().clone() for name, part in distiller.named_parameters()}, float(out.loss.detach())


def of_both_kinds(rank, world):
    return {name: stepped(rank, *kind) for name, kind in KINDS.items()}


@pytest.fixture(scope="module")
def results(pair):
    return pair.run(of_both_kinds)


@pytest.mark.parametrize("name", KINDS)
def test_processes_stay_equal_on_boxes_of_their_own(results, name):
    (first, loss), (second, other) = (found[name] for found in results)
    assert loss != other
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(part.isfinite().all() for part in first.values())
