"""Caches with any damage: every row that comes back is the one that was stored, or counts as lost."""

import os

import numpy as np
import pytest
from cache_parts import CLASSES, spec_of, store_of

from fuzzing import Crash, amounts, damaged, fuzz
from limbeck.cache import LogitStore
from limbeck.errors import RunError, UserError

FILES = ("logits.bin", "checks.bin", "about.json")


@pytest.fixture
def whole(tmp_path):
    """A full cache of one row a slot, which is its slot's number, and a copy of its files."""
    store = store_of(tmp_path, spec_of())
    slots = np.arange(store.spec.slots)
    store.write(slots, np.repeat(slots[:, None], CLASSES, 1).astype(np.int32))
    return store, {name: (store.folder / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("name", FILES)
@amounts(20, 250)
def test_no_row_that_comes_back_is_wrong(examples, name, whole, slow_counts):
    store, contents = whole

    def open_and_read(content):
        for other in FILES:
            (store.folder / other).write_bytes(content if other == name else contents[other])
        found = LogitStore.open(store.folder.parent, store.spec).read(np.arange(store.spec.slots))
        expected = np.arange(store.spec.slots)[:, None]
        if not (found.rows[found.good] == expected[found.good]).all():
            raise Crash("a damaged row passed its checksum")
        if name == "about.json" and not found.good.all():
            raise Crash("whole rows count as lost")

    fuzz(open_and_read, damaged(contents[name]), examples=examples, count=slow_counts, seconds=10)


def put(path, kind):
    path.unlink()
    {"folder": path.mkdir, "fifo": lambda: os.mkfifo(path), "link": lambda: path.symlink_to(path)}[kind]()


@pytest.mark.parametrize("name", FILES[:2])
@pytest.mark.parametrize("kind", ["folder", "fifo", "link"])
def test_rows_in_what_is_no_regular_file_are_refused(whole, name, kind):
    store, _ = whole
    put(store.folder / name, kind)
    with pytest.raises(UserError, match=str(store.folder)) as error:
        LogitStore.open(store.folder.parent, store.spec)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_a_description_that_cannot_be_written_again(whole, kind):
    store, _ = whole
    put(store.folder / "about.json", kind)
    with pytest.raises(RunError, match=r"about\.json: "):
        LogitStore.open(store.folder.parent, store.spec)


def test_a_description_that_is_a_link_to_itself_is_written_again(whole):
    store, contents = whole
    put(store.folder / "about.json", "link")
    assert LogitStore.open(store.folder.parent, store.spec).read(np.arange(5)).good.all()
    assert (store.folder / "about.json").read_bytes() == contents["about.json"]
