"""A runner of the stages of a machine with a GPU."""

import pytest


@pytest.fixture
def runner(script, tmp_path, monkeypatch):
    """Make a runner in a folder of its own, where nothing is recorded."""
    module = script("gpu_runner")
    monkeypatch.setattr(module, "RECORDED", tmp_path / "recorded")
    (tmp_path / "recorded").mkdir()
    monkeypatch.setattr(module, "GRACE", 3)
    monkeypatch.setattr(module, "START", 0)

    def make(minutes=1.0, **more):
        options = {"rehearse": False, "back": tmp_path / "back", "again": False, **more}
        return module.Runner(tmp_path / "work", minutes=minutes, **options)

    return make
