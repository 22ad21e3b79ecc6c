"""Runners of the stages of a machine with a GPU, in folders where nothing is recorded."""

from functools import partial


def maker(script, tmp_path, monkeypatch):
    """Return what makes runners in ``tmp_path``."""
    module = script("gpu_runner")
    monkeypatch.setattr(module, "RECORDED", tmp_path / "recorded")
    (tmp_path / "recorded").mkdir()
    monkeypatch.setattr(module, "GRACE", 3)
    monkeypatch.setattr(module, "START", 0)
    return partial(module.Runner, tmp_path / "work", minutes=1.0, rehearse=False, back=tmp_path / "back", again=False)
