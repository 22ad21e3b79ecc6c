"""Caches that are filled ahead: the views of a training, stopped, killed and gone on with."""

import errno
import multiprocessing
import os
import signal
import time

import pytest
import torch
from cache_parts import MEAN, SAMPLES, STD, Counting, network_of, replay_of, spec_of, split_of, store_of, views_of

from limbeck.cache import (
    CachedTeacher,
    CacheSpec,
    LogitStore,
    Replay,
    RowFormat,
    building,
    compare,
    fill,
    missing,
    wanted,
)
from limbeck.data import Augment, FolderSet, Views
from limbeck.errors import RunError
from limbeck.teachers import LiveTeacher


@pytest.mark.parametrize("mode", ["views", "epochs"])
def test_a_training_finds_everything_and_bit_for_bit(tmp_path, mode):
    spec, live = spec_of(mode), LiveTeacher(network_of())
    store, ticks = store_of(tmp_path, spec), []
    assert fill(store, live, replay_of(spec), tick=lambda *at: ticks.append(at), batch_size=64) == spec.slots
    assert ticks[-1] == (spec.slots, spec.slots)
    counting = Counting(network_of())
    teacher = CachedTeacher(counting, store_of(tmp_path, spec))
    for epoch in range(3):
        for inputs, labels, indices in views_of(spec).epoch(epoch):
            assert torch.equal(teacher(inputs, labels, indices, epoch), live(inputs, labels))
    assert counting.rows == 8
    assert fill(store, live, replay_of(spec)) == 0


@pytest.mark.parametrize("mode", ["views", "epochs"])
def test_only_wanted_slots_are_stored(tmp_path, mode):
    spec = spec_of(mode)
    flags = wanted(spec, [0], epochs=2)
    store = store_of(tmp_path, spec)
    assert fill(store, LiveTeacher(network_of()), replay_of(spec), slots=flags) == int(flags.sum())
    assert torch.equal(torch.from_numpy(store.filled), flags)
    assert len(missing(store, flags)) == 0
    counting = Counting(network_of())
    teacher = CachedTeacher(counting, store)
    for epoch in range(2):
        for batch in views_of(spec).epoch(epoch):
            teacher(*batch, epoch)
    assert counting.rows == 8


def folder_of_images(tmp_path, split):
    from PIL import Image

    paths = []
    for number, image in enumerate(split.images):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image[0].numpy()).save(paths[-1])
    return FolderSet(tmp_path, tuple(paths), split.labels, "gray", 8)


@pytest.mark.parametrize(
    ("mode", "augment"), [("views", Augment(crop=1, flip=True)), ("epochs", Augment(scale=(0.5, 1.0)))]
)
def test_the_views_of_a_folder(tmp_path, monkeypatch, mode, augment):
    monkeypatch.setattr("limbeck.cache.replay._DECODED", 4)
    split = folder_of_images(tmp_path, split_of(10))
    spec = CacheSpec(mode, 10, RowFormat(7, "float32"), augment, epochs=2 if mode == "epochs" else 0)
    live, store = LiveTeacher(network_of()), store_of(tmp_path, spec)
    fill(store, live, Replay(split, spec, MEAN, STD))
    counting = Counting(network_of())
    teacher = CachedTeacher(counting, store)
    views = Views(split, batch_size=4, mean=MEAN, std=STD, augment=augment, shuffle=True)
    for epoch in range(2):
        for inputs, labels, indices in views.epoch(epoch):
            assert torch.equal(teacher(inputs, labels, indices, epoch), live(inputs, labels))
    assert counting.rows == 4


def _build_slowly(tmp_path, ready):
    class Slow(LiveTeacher):
        def logits(self, inputs, labels, indices=None, epoch=0):
            if int(indices.max()) > SAMPLES // 2:
                ready.set()
                time.sleep(60)
            return super().logits(inputs, labels, indices, epoch)

    torch.set_num_threads(1)
    spec = spec_of()
    fill(store_of(tmp_path, spec), Slow(network_of()), replay_of(spec), batch_size=32)


def test_a_killed_build_resumes_and_never_two_run_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    builder = context.Process(target=_build_slowly, args=(tmp_path, ready))
    builder.start()
    assert ready.wait(20)
    spec, live = spec_of(), LiveTeacher(network_of())
    store = store_of(tmp_path, spec)
    stored = len(store)
    assert 0 < stored < spec.slots
    with pytest.raises(RunError, match=f"process {builder.pid} on .* is working on it; wait for it"):
        fill(store, live, replay_of(spec))
    os.kill(builder.pid, signal.SIGKILL)
    builder.join()
    assert store.verify() == 0
    assert fill(store, live, replay_of(spec)) == spec.slots - stored
    whole = LogitStore.open(tmp_path / "never-stopped", spec)
    fill(whole, live, replay_of(spec))
    for name in ("logits.bin", "checks.bin"):
        assert (store.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_full_disk_ends_a_build_in_one_line(tmp_path, monkeypatch):
    spec, live = spec_of(), LiveTeacher(network_of())
    store, calls = store_of(tmp_path, spec), []

    def pwrite(file, content, offset, real=os.pwrite):
        calls.append(offset)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, content, offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", pwrite)
        with pytest.raises(RunError, match="No space left on device; the 64 rows that are stored are kept") as error:
            fill(store, live, replay_of(spec), batch_size=32)
    assert "\n" not in str(error.value)
    assert fill(store, live, replay_of(spec)) == spec.slots - 64
    assert store.verify() == 0


def test_a_lock_is_free_again_afterwards(tmp_path):
    for _ in range(2):
        with building(store_of(tmp_path)):
            pass


def test_a_build_that_cannot_write(tmp_path, monkeypatch):
    spec = spec_of()
    store_of(tmp_path, spec)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RunError, match="cannot be written, so it cannot be filled"):
        fill(store_of(tmp_path, spec), LiveTeacher(network_of()), replay_of(spec))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("mode", ["views", "epochs"])
def test_compare_with_the_teacher(tmp_path, mode, dtype):
    spec = spec_of(mode, dtype)
    store, live = store_of(tmp_path, spec), LiveTeacher(network_of())
    assert compare(store, live, replay_of(spec)).rows == 0
    fill(store, live, replay_of(spec), slots=wanted(spec, [0], 2))
    same = compare(store, live, replay_of(spec), rows=20)
    assert (same.rows, same.difference, same.same) == (20, 0.0, True)
    other = compare(store, LiveTeacher(network_of(1)), replay_of(spec))
    assert not other.same
