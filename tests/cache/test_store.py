"""The files of a cache, and everything that can happen to them: no row that comes back is wrong."""

import errno
import json
import multiprocessing
import os
import shutil

import numpy as np
import pytest
import torch
from cache_parts import CLASSES, spec_of, store_of

from limbeck.cache import CacheSpec, LogitStore, RowFormat, require_room
from limbeck.cache.checksum import checksums as real
from limbeck.data import Augment
from limbeck.errors import UserError


def some_rows(count, seed=0):
    return np.random.default_rng(seed).integers(-(2**31), 2**31, (count, CLASSES), dtype=np.int32)


def filled_store(tmp_path):
    store = store_of(tmp_path)
    everything = np.arange(store.spec.slots)
    rows = some_rows(len(everything))
    store.write(everything, rows)
    return store, everything, rows


def test_the_files_of_earlier_versions_are_read(tmp_path):
    """The bytes were written when a row was always one of C logits."""
    source = {"teacher": "t", "data": "d", "normalization": [[0.5], [0.25]], "precision": ["cpu", ["fp32"], False]}
    store = store_of(tmp_path, CacheSpec("views", 3, RowFormat(7), source=source))
    rows = "4044003000c40044003dc0c120450000c04040c2e0c5004300c0c0c4803f000000c66045a044c043404200bc803e0000"
    (store.folder / "logits.bin").write_bytes(bytes.fromhex(rows))
    (store.folder / "checks.bin").write_bytes(bytes.fromhex("f25ff101838d077eae4d28e7"))
    found = store_of(tmp_path, store.spec).read(np.arange(3))
    assert found.good.all()
    logits = (torch.arange(21.0).reshape(3, 7) * 2654435761 % 97) / 8 - 6
    assert torch.equal(store.spec.rows.decode(torch.from_numpy(found.rows)), logits[[1, 2, 0]])


def test_rows_come_back_in_any_order(tmp_path):
    store = store_of(tmp_path)
    slots, rows = np.random.default_rng(1).permutation(store.spec.slots)[:300], some_rows(300)
    store.write(slots, rows)
    assert len(store) == 300
    again = store_of(tmp_path)
    found = again.read(slots[::-1])
    assert found.good.all()
    assert np.array_equal(found.rows, rows[::-1])
    rest = np.setdiff1d(np.arange(store.spec.slots), slots)
    assert not again.read(rest).good.any()
    assert again.read(rest).damaged == 0


def test_an_empty_cache_takes_no_room(tmp_path):
    spec = CacheSpec("views", 50_000, RowFormat(100), Augment(crop=4, flip=True))
    store = store_of(tmp_path, spec)
    files = [store.folder / "logits.bin", store.folder / "checks.bin"]
    assert sum(path.stat().st_size for path in files) == spec.bytes
    assert sum(path.stat().st_blocks for path in files) * 512 < 1e6
    assert sorted(path.name for path in store.folder.iterdir()) == ["about.json", "checks.bin", "logits.bin"]
    assert [path.name for path in store.folder.parent.iterdir()] == [spec.key]


@pytest.mark.parametrize("name", ["logits.bin", "checks.bin"])
def test_every_flipped_bit_is_found(tmp_path, name):
    store, everything, _rows = filled_store(tmp_path)
    path = store.folder / name
    for position in np.random.default_rng(2).integers(path.stat().st_size, size=40).tolist():
        content = bytearray(path.read_bytes())
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
        found = store_of(tmp_path).read(everything)
        slot = position // (4 if name == "checks.bin" else 4 * CLASSES)
        assert np.flatnonzero(~found.good).tolist() == [slot]
        assert found.damaged == 1
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
    assert store_of(tmp_path).read(everything).good.all()


def test_rows_that_changed_places_are_found(tmp_path):
    store, everything, _rows = filled_store(tmp_path)
    for name, length in (("logits.bin", 4 * CLASSES), ("checks.bin", 4)):
        content = bytearray((store.folder / name).read_bytes())
        content[:length], content[length : 2 * length] = content[length : 2 * length], content[:length]
        (store.folder / name).write_bytes(content)
    assert np.flatnonzero(~store_of(tmp_path).read(everything).good).tolist() == [0, 1]


def test_the_rows_of_another_cache_do_not_pass(tmp_path):
    store, everything, _ = filled_store(tmp_path)
    other = store_of(tmp_path, spec_of(source={"teacher": "another"}))
    for name in ("logits.bin", "checks.bin"):
        shutil.copy(store.folder / name, other.folder / name)
    found = store_of(tmp_path, other.spec).read(everything)
    assert not found.good.any()


def test_the_folder_of_another_cache_is_refused(tmp_path):
    store, _, _ = filled_store(tmp_path)
    other = spec_of(source={"teacher": "another"})
    shutil.copytree(store.folder, store.folder.parent / other.key)
    with pytest.raises(UserError, match=f"{other.key}: holds that of another teacher; delete the folder"):
        store_of(tmp_path, other)


@pytest.mark.parametrize("name", ["logits.bin", "checks.bin"])
def test_a_truncated_file_loses_only_what_was_cut_off(tmp_path, name):
    store, everything, rows = filled_store(tmp_path)
    path = store.folder / name
    os.truncate(path, path.stat().st_size // 2 + 1)
    logged = []
    found = store_of(tmp_path, log=logged.append).read(everything)
    assert len(logged) == 1
    assert f"{name}: has" in logged[0]
    assert "rows that are lost are made again" in logged[0]
    half = store.spec.slots // 2
    assert found.good[: half - 1].all()
    assert not found.good[half + 1 :].any()
    assert np.array_equal(found.rows[found.good], rows[found.good])


@pytest.mark.parametrize("name", ["logits.bin", "checks.bin"])
def test_a_file_that_is_gone_or_too_long(tmp_path, name):
    store, everything, _rows = filled_store(tmp_path)
    logged = []
    with (store.folder / name).open("ab") as file:
        file.write(b"more")
    assert store_of(tmp_path, log=logged.append).read(everything).good.all()
    (store.folder / name).unlink()
    assert not store_of(tmp_path, log=logged.append).read(everything).good.any()
    assert len(logged) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"holds": 3}'])
def test_a_damaged_about_is_written_again(tmp_path, content):
    store, everything, _ = filled_store(tmp_path)
    (store.folder / "about.json").write_bytes(content)
    logged = []
    assert store_of(tmp_path, log=logged.append).read(everything).good.all()
    assert len(logged) == 1
    assert "about.json is damaged" in logged[0]
    assert json.loads((store.folder / "about.json").read_text())["holds"] == json.loads(json.dumps(store.spec.material))


def test_verify_counts_and_drops(tmp_path):
    store, _everything, _ = filled_store(tmp_path)
    with (store.folder / "logits.bin").open("r+b") as file:
        file.write(b"damage to the first rows of all")
    assert store.verify(drop=False) == 2
    assert len(store) == store.spec.slots
    assert store.verify() == 2
    assert len(store) == store.spec.slots - 2
    assert store.verify() == 0


def test_a_full_disk_while_writing_leaves_what_was_there(tmp_path, monkeypatch):
    _store, everything, _rows = filled_store(tmp_path)
    other = store_of(tmp_path, spec_of(dtype="float16"))
    calls = []

    def pwrite(file, content, offset, real=os.pwrite):
        calls.append(offset)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        # A disk that fills up takes a part of the last write.
        return real(file, content[: len(content) // 2 + 1], offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", pwrite)
        with pytest.raises(OSError, match="No space left"):
            other.write(np.array([5, 9, 11]), some_rows(3)[:, :4])
    assert not store_of(tmp_path, other.spec).read(np.arange(20)).good.any()
    assert store_of(tmp_path).read(everything).good.all()


@pytest.mark.parametrize("at", ["truncate", "rename"])
def test_a_full_disk_while_making_the_files(tmp_path, monkeypatch, at):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        if at == "truncate":
            patched.setattr("limbeck.cache.store._lengthen", fail)
        else:
            patched.setattr("pathlib.Path.rename", fail)
        with pytest.raises(UserError, match="cannot be opened .No space left on device., set output.cache elsewhere"):
            store_of(tmp_path)
    assert not list((tmp_path / "logits").iterdir())
    assert len(store_of(tmp_path)) == 0


def test_a_cache_that_is_no_folder(tmp_path):
    (tmp_path / "logits").write_text("a file")
    with pytest.raises(UserError, match="cannot be opened"):
        store_of(tmp_path)


def test_a_cache_that_cannot_be_written_is_read(tmp_path, monkeypatch):
    _store, everything, _ = filled_store(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    again = store_of(tmp_path)
    assert not again.writable
    assert again.read(everything).good.all()
    with pytest.raises(OSError, match="Bad file descriptor"):
        again.write(np.array([0]), some_rows(1))


def _write_many(tmp_path, start, seed):
    store = store_of(tmp_path)
    for slot in range(start, store.spec.slots, 3):
        store.write(np.array([slot]), some_rows(store.spec.slots, seed)[slot : slot + 1])


def test_processes_that_make_and_fill_the_same_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    # Two of the three write the same rows, and one writes other values to the same places.
    jobs = [
        context.Process(target=_write_many, args=(tmp_path, s, seed)) for s, seed in ((0, 0), (0, 0), (1, 0), (1, 7))
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 4
    store = store_of(tmp_path)
    found = store.read(np.arange(store.spec.slots))
    rows, others = some_rows(store.spec.slots), some_rows(store.spec.slots, 7)
    same, other = (found.rows == rows).all(1), (found.rows == others).all(1)
    assert found.good[0::3].all()
    assert same[0::3].all()
    # Where two disagreed, either one's whole row is there, or none counts.
    assert (same | other | ~found.good)[1::3].all()
    assert not found.good[2::3].any()
    assert [path.name for path in (tmp_path / "logits").iterdir()] == [store.spec.key]


def test_room(tmp_path, monkeypatch):
    cifar = CacheSpec("views", 50_000, RowFormat(100), Augment(crop=4, flip=True))
    require_room(tmp_path / "not" / "there", cifar, 0, limit_gb=20)
    with pytest.raises(UserError, match=r"1.65 GB, more than teacher.cache_limit_gb 1.5; expected a higher limit"):
        require_room(tmp_path, cifar, 0, limit_gb=1.5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, 10**9))
    require_room(tmp_path, cifar, 200_000, limit_gb=20)
    with pytest.raises(UserError, match=r"teacher.cache: needs 1.64 GB in .*, where 1 GB are free; set output.cache"):
        require_room(tmp_path, cifar, 400_000, limit_gb=20)


def test_room_for_rows_of_several_pages(tmp_path, monkeypatch):
    maps = CacheSpec("epochs", 1000, RowFormat((21, 64, 64)), epochs=2)
    assert maps.rows.bytes == 2 * 21 * 64 * 64 == 42 * 4096
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, 10**8))
    require_room(tmp_path, maps, 500, limit_gb=20)
    with pytest.raises(UserError, match=r"needs 172 MB in .*, where 100 MB are free"):
        require_room(tmp_path, maps, 1000, limit_gb=20)


def test_large_rows_are_read_in_small_blocks(tmp_path, monkeypatch):
    store, everything, rows = filled_store(tmp_path)
    monkeypatch.setattr("limbeck.cache.store._BLOCK_BYTES", 5 * store.spec.rows.bytes)
    counts = []
    monkeypatch.setattr(
        "limbeck.cache.store.checksums", lambda rows, *rest: counts.append(len(rows)) or real(rows, *rest)
    )
    found = store.read(everything)
    assert found.good.all()
    assert np.array_equal(found.rows, rows)
    assert max(counts) == 5
    assert store.verify() == 0


def test_no_posix_no_cache(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "pwrite")
    with pytest.raises(UserError, match="POSIX"):
        LogitStore.open(tmp_path, spec_of())


def test_what_a_process_left_that_was_killed_while_it_made_the_files(tmp_path):
    spec = spec_of()
    (tmp_path / f"{spec.key}.partial-ab").mkdir()
    (tmp_path / f"{spec.key}.partial-ab" / "logits.bin").touch()
    (tmp_path / "other.partial-cd").mkdir()
    store = LogitStore.open(tmp_path, spec)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([store.folder.name, "other.partial-cd"])
