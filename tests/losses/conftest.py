"""What tests of several losses use."""

import pytest

from limbeck.losses import _row_blocks


@pytest.fixture
def small_blocks(monkeypatch):
    """Cut even a small tensor into several blocks, the last one shorter."""
    monkeypatch.setattr(_row_blocks, "_CPU_BLOCK", 8)
    monkeypatch.setattr(_row_blocks, "_LEAST_ROWS", 3)
