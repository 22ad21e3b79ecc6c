"""What the tests of the scripts share."""

import importlib
from pathlib import Path

import pytest

import limbeck

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Import one of the scripts; the images that it registers are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in limbeck.data.names():
        if name.startswith("claims_"):
            limbeck.data.registry.REGISTRY.unregister(name)
