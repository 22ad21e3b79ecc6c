"""Fixtures of the tests of distillers: small batches."""

import pytest
import torch

from limbeck.selection import halves
from weighed_rows import N, linear


@pytest.fixture
def batch():
    """Ten images of four classes, with their positions."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(10, 3, 16, 16, generator=generator)
    return inputs, torch.randint(4, (10,), generator=generator), torch.arange(10)


@pytest.fixture
def data():
    """Labels that the teacher is right about in some rows, and a proxy in others."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, 6, generator=generator)
    by_teacher = torch.rand(N, generator=generator) < 0.6
    labels = torch.where(by_teacher, linear(2)(inputs).argmax(1), linear(5)(inputs).argmax(1))
    return inputs, labels, torch.arange(N)


@pytest.fixture
def half(data):
    return halves(data[1], data[2], seed=0)
