"""The pieces in which data and packages reach a machine with a GPU."""

import json

import pytest

import limbeck
from gpu_runners import maker
from limbeck.errors import UserError


@pytest.fixture
def shared_data(script, tmp_path, monkeypatch):
    """Small files in the place of the data that travel, and no wheels."""
    packing, data = script("gpu_pack"), tmp_path / "shared/data"
    data.mkdir(parents=True)
    for names in packing.DATA:
        for name in names:
            if "." in name:
                (data / name).write_bytes(bytes(1000))
            else:
                (data / name).mkdir()
                (data / name / "teacher.py").write_text("x = 1\n")
    monkeypatch.setenv("LIMBECK_SHARED", str(tmp_path / "shared"))
    monkeypatch.setattr(packing, "wheels", lambda folder: folder.mkdir())
    monkeypatch.setattr(packing, "tree_size", lambda: 10)
    return packing


def test_pieces_hold_all_data_and_what_limbeck_needs(shared_data, tmp_path):
    pieces = shared_data.pack(tmp_path / "out")
    names = {path.name for piece in pieces for path in (piece.folder / "data").iterdir()}
    whole = {name for group in shared_data.DATA for name in group} - {shared_data.CUT}
    assert names == whole | {f"{shared_data.CUT}.head", f"{shared_data.CUT}.tail"}
    (metadata,) = (tmp_path / "out/1/site").glob("limbeck-*.dist-info/METADATA")
    assert f"Version: {limbeck.__version__}" in metadata.read_text()
    assert "Requires-Dist: torch>=" in metadata.read_text()
    assert json.loads((tmp_path / "out/1/about.json").read_text())["commit"]
    assert pieces[1].size == 1000
    assert "MiB, with the working tree" in pieces[0].line


def test_a_file_that_was_cut_is_joined_when_both_pieces_are_there(shared_data, script, tmp_path, monkeypatch):
    monkeypatch.setattr(shared_data, "CUT_AT", 400)
    original = bytes(range(250)) * 4
    (tmp_path / "shared/data" / shared_data.CUT).write_bytes(original)
    first, second = shared_data.pack(tmp_path / "out")
    joined = tmp_path / "work/shared/data" / shared_data.CUT
    there = maker(script, tmp_path, monkeypatch)()
    there.unpack([first.folder])
    assert not joined.exists()
    there.unpack([second.folder])
    assert joined.read_bytes() == original


def test_a_piece_that_is_too_large_is_refused(shared_data, tmp_path, monkeypatch):
    monkeypatch.setattr(shared_data, "LIMIT", 1500)
    with pytest.raises(UserError, match="expected less"):
        shared_data.pack(tmp_path / "out")


def test_every_package_that_limbeck_needs_travels_or_is_there(script):
    # pydantic and lightning-fabric are what the machine lacks of limbeck's dependencies.
    assert {"pydantic", "lightning-fabric"} <= set(script("gpu_pack").PACKAGES)
    rows = list(script("gpu_check").packages())
    assert {"torch", "pydantic", "pytest"} <= {row["what"] for row in rows}
    assert all(row["is"] != "missing" for row in rows if row["needed"] != "for tests and comparisons")
