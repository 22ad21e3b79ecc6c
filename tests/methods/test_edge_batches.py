"""Batches without rows, and labels of every whole type, under methods as a person's own loop calls them."""

import pytest
import torch
from torch import nn

from limbeck import Distiller


@pytest.mark.parametrize("method", ["none", "kd", "dist", "cmkd", "lskd", "lr"])
def test_a_batch_without_rows_has_a_zero_that_is_tied_to_the_graph(method):
    student = nn.Linear(4, 3)
    out = Distiller(student, nn.Linear(4, 3), method)(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    out.loss.backward()
    assert out.loss.item() == 0
    assert not student.weight.grad.any()


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
@pytest.mark.parametrize("method", ["dkd", "rectify+kd", "revise+dist", "tf_kd_reg"])
def test_labels_of_any_whole_type(method, dtype):
    student, teacher, inputs, labels = nn.Linear(4, 3), nn.Linear(4, 3), torch.randn(6, 4), torch.arange(6) % 3
    distiller = Distiller(student, teacher, method, num_classes=3)
    assert distiller(inputs, labels.to(dtype)).loss.item() == distiller(inputs, labels).loss.item()
