"""URLs: folders that cannot be reached, and files of kept teachers elsewhere."""

import os
import shutil
import sys

import fsspec
import pytest

from limbeck.cache.manifest import read_manifest
from limbeck.cache.remote import RemoteFolder
from limbeck.cache.remote_files import fetch_files, is_same, send_files
from limbeck.errors import RunError, UserError


@pytest.fixture(autouse=True)
def _clear():
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "clowd://bucket",
            "Protocol not known: clowd; expected such as s3://bucket/folder, gs://bucket/folder",
        ),
        ("", "got an empty one, expected such as"),
        ("zip://a::/nowhere/at.zip", "No such file or directory"),
    ],
)
def test_urls_that_cannot_be_used(url, message):
    with pytest.raises(UserError, match=message) as error:
        RemoteFolder.open(url)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("url", "package", "module"), [("s3://b/f", "s3fs", "s3fs"), ("gs://b/f", "gcsfs", "gcsfs")])
def test_a_package_that_is_missing_is_named(monkeypatch, url, package, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=f"needs a package that is not installed: .*[Ii]nstall {package}"):
        RemoteFolder.open(url)


def test_what_cannot_be_reached_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    blocked = RemoteFolder.open(str(tmp_path / "file" / "folder"))
    with pytest.raises(RunError, match=r"file/folder/a: cannot be written \(") as error:
        blocked.write("a", b"1")
    assert "\n" not in str(error.value)
    closed = RemoteFolder.open("http://127.0.0.1:9/folder")
    with pytest.raises(RunError, match=r"http://127.0.0.1:9/folder/a: cannot be read \(.*the same command continues"):
        closed.read("a")


def test_a_bucket_is_not_made_of_a_mistyped_name():
    class Bucket(fsspec.implementations.memory.MemoryFileSystem):
        protocol = ("s3", "s3a")

        def makedirs(self, path, exist_ok=False):
            raise AssertionError(path)

    RemoteFolder(Bucket(), "/bucket", "s3://bucket").write("a", b"1")


def test_an_object_in_a_folder_is_replaced_in_one_move(tmp_path, monkeypatch):
    folder = RemoteFolder.open(str(tmp_path))
    folder.write("a", b"before")

    def refuse(*_):
        raise OSError("stopped")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RunError):
        folder.write("a", b"after")
    assert folder.read("a") == b"before"
    assert folder.names() == ["a"]


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.cache.remote_files._PART_BYTES", 1000)
    folder = tmp_path / "teacher"
    folder.mkdir()
    for name, content in (("weights", os.urandom(2500)), ("exact", os.urandom(2000)), ("empty", b"")):
        (folder / name).write_bytes(content)
    (folder / ".lock").touch()
    (folder / "checkpoints").mkdir()
    return folder


def test_files_come_back_and_only_the_missing_parts_are_moved(teacher, tmp_path, monkeypatch):
    remote, target = RemoteFolder.open("memory://teacher"), tmp_path / "target"
    assert (send_files(teacher, remote, "ab"), send_files(teacher, remote, "ab")) == (5, 0)
    manifest = read_manifest(remote, "teacher", "ab")
    assert sorted(manifest.files) == ["empty", "exact", "weights"]
    target.mkdir()
    # A part that is here, one that is not, and what an unfinished training left.
    (target / "weights").write_bytes((teacher / "weights").read_bytes()[:1500])
    (target / "checkpoints").mkdir()
    (target / "step").touch()
    read, real = [], RemoteFolder.read
    monkeypatch.setattr(RemoteFolder, "read", lambda folder, name: read.append(name) or real(folder, name))
    fetch_files(manifest, remote, target)
    assert len(read) == 4
    assert sorted(path.name for path in target.iterdir()) == ["empty", "exact", "weights"]
    for path in target.iterdir():
        assert path.read_bytes() == (teacher / path.name).read_bytes()
    assert is_same(manifest, target, ["weights", "exact", "empty", "none"])
    (target / "exact").write_bytes((teacher / "exact").read_bytes() + b"more")
    assert not is_same(manifest, target, ["exact"])
    assert not is_same(manifest, tmp_path, ["exact"])


def test_a_damaged_file_of_a_teacher_is_named(teacher, tmp_path):
    remote, target = RemoteFolder.open("memory://teacher"), tmp_path / "target"
    send_files(teacher, remote, "ab")
    (name,) = (name for name in remote.names() if name.startswith("weights.00002"))
    remote.write(name, b"\0" * 500)
    target.mkdir()
    with pytest.raises(RunError, match=f"memory://teacher/{name}: is damaged"):
        fetch_files(read_manifest(remote, "teacher", "ab"), remote, target)
    shutil.rmtree(target)
    target.mkdir()
    assert send_files(teacher, remote, "ab") == 1
    fetch_files(read_manifest(remote, "teacher", "ab"), remote, target)
    assert (target / "weights").read_bytes() == (teacher / "weights").read_bytes()
