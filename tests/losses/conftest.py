"""What tests of several losses use."""

import pytest

from limbeck.losses import _blocks, _closed_correlation


@pytest.fixture
def small_blocks(monkeypatch):
    """Cut even a small tensor into several blocks, the last one shorter."""
    monkeypatch.setattr(_blocks, "_CPU_BLOCK", 8)
    monkeypatch.setattr(_blocks, "_CPU_ROW_WISE", 1)
    monkeypatch.setattr(_closed_correlation, "_LEAST_ROWS", 3)
