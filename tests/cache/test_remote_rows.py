"""Rows of caches that are kept elsewhere: sent in parts, fetched again, and refused where anything is damaged."""

import errno
import json
import multiprocessing
import os
import random
import re
import signal
import time
from functools import partialmethod

import fsspec
import numpy as np
import pytest
import torch
from cache_parts import network_of, replay_of, spec_of

from limbeck.cache import LogitStore, building, fill
from limbeck.cache.manifest import MANIFEST, read_manifest
from limbeck.cache.remote import RemoteFolder
from limbeck.cache.remote_rows import fetch_rows, send_rows
from limbeck.errors import RunError, UserError
from limbeck.teachers import LiveTeacher

FILES = ("logits.bin", "checks.bin")
SPEC = spec_of("views", "float16")
# 900 rows of 16 bytes in nine parts.
PARTS = 9


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr("limbeck.cache.remote_rows._PART_BYTES", 100 * SPEC.rows.bytes)
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=["folder", "memory"])
def remote(request, tmp_path):
    url = tmp_path / "bucket" / "with space" if request.param == "folder" else "memory://bucket"
    return RemoteFolder.open(str(url)).child("logits").child(SPEC.key)


@pytest.fixture
def store(tmp_path):
    store = LogitStore.open(tmp_path / "here", SPEC)
    fill(store, LiveTeacher(network_of()), replay_of(SPEC))
    return store


@pytest.fixture
def empty(tmp_path):
    return LogitStore.open(tmp_path / "there", SPEC)


def same_files(first, second):
    return all((first.folder / name).read_bytes() == (second.folder / name).read_bytes() for name in FILES)


def changed(folder, name, change):
    folder.write(name, change(folder.read(name)))


def edited(folder, change):
    values = json.loads(folder.read(MANIFEST))
    change(values)
    folder.write(MANIFEST, json.dumps(values).encode())


def test_files_are_the_same_again(remote, store, empty):
    ticks = []
    done = send_rows(store, remote, tick=lambda *at: ticks.append(at))
    assert done == (SPEC.slots, 2 * PARTS, 2 * PARTS)
    assert ticks == [(part, 2 * PARTS) for part in range(1, 2 * PARTS + 1)]
    assert len(remote.names()) == 2 * PARTS + 1
    assert fetch_rows(empty, remote) == SPEC.slots
    assert same_files(store, empty)
    assert send_rows(store, remote).sent == send_rows(empty, remote).sent == 0
    assert fetch_rows(empty, remote) == 0


def test_a_cache_that_grows_replaces_what_grew(remote, store, tmp_path, empty):
    growing = LogitStore.open(tmp_path / "growing", SPEC)
    slots = np.arange(250)
    growing.write(slots, store.read(slots).rows)
    assert send_rows(growing, remote) == (250, 6, 6)
    assert fetch_rows(empty, remote) == 250
    assert same_files(growing, empty)
    more = np.arange(250, 420)
    growing.write(more, store.read(more).rows)
    # The third part has become full, and two have come.
    assert send_rows(growing, remote) == (420, 10, 6)
    assert len(remote.names()) == 11
    assert fetch_rows(empty, remote) == 170
    assert same_files(growing, empty)


def test_rows_that_are_missing_here_are_never_lost_there(remote, store, empty):
    send_rows(store, remote)
    before = remote.read(MANIFEST)
    slots = np.arange(0, SPEC.slots, 2)
    empty.write(slots, store.read(slots).rows)
    with pytest.raises(UserError, match=r"holds 450 rows that are missing in .*; expected `limbeck cache pull` before"):
        send_rows(empty, remote)
    assert remote.read(MANIFEST) == before
    assert fetch_rows(empty, remote) == 450
    assert send_rows(empty, remote).sent == 0


class Stopping:
    """Lets some calls through, and then stops the process as Ctrl-C does."""

    def __init__(self, call, most):
        self.call, self.left, self.names = call, most, []

    def __call__(self, folder, name, *content):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.names.append(name)
        return self.call(folder, name, *content)


def test_a_stopped_push_is_no_cache_yet_and_continues(remote, store, empty, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(RemoteFolder, "write", partialmethod(Stopping(RemoteFolder.write, 5)))
        with pytest.raises(KeyboardInterrupt):
            send_rows(store, remote)
    assert len(remote.names()) == 5
    assert fetch_rows(empty, remote) is None
    # The last object is half-written.
    changed(remote, remote.names()[-1], lambda content: content[:7])
    assert send_rows(store, remote) == (SPEC.slots, 2 * PARTS, 2 * PARTS - 4)
    assert fetch_rows(empty, remote) == SPEC.slots


def test_a_stopped_pull_continues(remote, store, empty, monkeypatch):
    send_rows(store, remote)
    for most in (0, 8, None):
        stop = Stopping(RemoteFolder.read, -1 if most is None else most)
        with monkeypatch.context() as patched:
            patched.setattr(RemoteFolder, "read", lambda *given, stop=stop: stop(*given))
            if most is not None:
                with pytest.raises(KeyboardInterrupt):
                    fetch_rows(empty, remote)
                assert empty.verify() == 0
            else:
                assert fetch_rows(empty, remote) == SPEC.slots - 300
    assert sum(name.startswith("rows.") for name in stop.names) == PARTS - 3
    assert same_files(store, empty)


def slowly(move, store, remote, parts):
    real = {name: getattr(RemoteFolder, name) for name in ("read", "write")}

    def slow(name):
        def call(*given):
            parts.value += 1
            time.sleep(0.003)
            return real[name](*given)

        return call

    for name in real:
        setattr(RemoteFolder, name, slow(name))
    move(store, remote)


@pytest.mark.parametrize("remote", ["folder"], indirect=True)
def test_killed_at_any_moment(remote, store, empty):
    fork, draws = multiprocessing.get_context("fork"), random.Random(0)
    for move, moved in ((send_rows, store), (fetch_rows, empty)):
        for _ in range(5):
            parts, most = fork.RawValue("i", 0), draws.randrange(1, 12)
            process = fork.Process(target=slowly, args=(move, moved, remote, parts))
            process.start()
            while process.is_alive() and parts.value < most:
                time.sleep(0.0005)
            time.sleep(draws.random() * 0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode in (-signal.SIGKILL, 0)
            assert empty.verify() == 0
        move(moved, remote)
    assert same_files(store, empty)


@pytest.mark.parametrize("file", ["rows", "checks"])
@pytest.mark.parametrize("damage", ["changed", "short", "gone"])
def test_a_damaged_object_is_named_and_never_stored(remote, store, empty, file, damage):
    send_rows(store, remote)
    (name,) = (name for name in remote.names() if name.startswith(f"{file}.00003."))
    if damage == "gone":
        remote.remove(name)
    else:
        changed(remote, name, lambda content: content[:-1] if damage == "short" else b"\x55" + content[1:])
    how = "not there" if damage == "gone" else "damaged"
    with pytest.raises(RunError, match=f"{re.escape(remote.url)}/{name}: is {how}"):
        fetch_rows(empty, remote)
    assert empty.verify() == 0
    assert len(empty) == 300
    # On this machine the content is compared, and repaired.
    assert send_rows(store, remote).sent == 1
    assert fetch_rows(empty, remote) == 600


def test_rows_of_another_cache_are_refused_though_their_sum_is_right(remote, store, empty):
    send_rows(store, remote)

    def exchange(values):
        rows = values["files"]["rows"]
        first, second = (f"rows.{index:05d}.{rows[index]['sha256'][:16]}" for index in (0, 1))
        remote.write(f"rows.00000.{rows[1]['sha256'][:16]}", remote.read(second))
        rows[0] = rows[1]
        assert first != second

    edited(remote, exchange)
    with pytest.raises(RunError, match=r"rows.00000\.\w+: is damaged, expected rows of this cache"):
        fetch_rows(empty, remote)
    assert len(empty) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda values: values.update(key="0" * 20),
            f"holds logits of key {'0' * 20}, expected logits of key {SPEC.key}",
        ),
        (lambda values: values.update(kind="teacher"), "holds teacher of key"),
        (lambda values: values.update(format=2), "is of format 2, expected 1"),
        (lambda values: values.update(format=None), "is damaged, expected a list of parts"),
        (lambda values: values.update(files=[]), "is damaged"),
        (lambda values: values.update(more=1), "is damaged"),
        (lambda values: values["files"].update({"../../x": []}), "is damaged"),
        (lambda values: values["files"]["rows"][0].update(sha256="../" * 20), "is damaged"),
        (
            lambda values: values["files"]["rows"].pop(),
            "its manifest is damaged, expected checks and rows of 900 slots",
        ),
        (lambda values: values.update(span=0), "its manifest is damaged"),
        (lambda values: values.update(span=2**61), "its manifest is damaged"),
        (lambda values: values["files"]["rows"][2].update(size=10**15), r"rows\.00002\.\w+: is damaged"),
        (lambda values: values["files"]["rows"].__setitem__(1, None), r"rows\.00001: is damaged"),
    ],
)
def test_manifests_that_do_not_fit(store, empty, tmp_path, change, message):
    remote = RemoteFolder.open("memory://manifests")
    send_rows(store, remote)
    edited(remote, change)
    with pytest.raises((RunError, UserError), match=message) as error:
        fetch_rows(empty, remote)
    assert "\n" not in str(error.value)
    assert empty.verify() == 0


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000, b'{"format": 1}']
)
def test_garbage_in_place_of_a_manifest(content):
    remote = RemoteFolder.open("memory://garbage")
    remote.write(MANIFEST, content)
    with pytest.raises(RunError, match=r"memory://garbage/manifest.json: is damaged, expected a list of parts"):
        read_manifest(remote, "logits", "ab")


def test_a_damaged_row_and_one_that_is_being_written_are_not_sent(store, empty, tmp_path):
    remote = RemoteFolder.open("memory://rows")
    with (store.folder / "logits.bin").open("r+b") as file:
        file.seek(7 * SPEC.rows.bytes)
        file.write(b"half")
    with building(store):
        assert send_rows(store, remote).rows == SPEC.slots - 1
    assert fetch_rows(empty, remote) == SPEC.slots - 1
    assert not empty.filled[7]


def test_a_full_disk_ends_a_pull_in_one_line(store, empty, monkeypatch):
    remote = RemoteFolder.open("memory://rows")
    send_rows(store, remote)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(RunError, match="No space left on device; the 0 rows that are stored are kept"):
            fetch_rows(empty, remote)
    assert fetch_rows(empty, remote) == SPEC.slots


def test_a_builder_is_not_disturbed(store, empty):
    remote = RemoteFolder.open("memory://rows")
    send_rows(store, remote)
    with building(empty), pytest.raises(RunError, match="is working on it; wait for it"):
        fetch_rows(empty, remote)
    assert torch.from_numpy(empty.filled).sum() == 0
