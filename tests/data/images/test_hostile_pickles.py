"""Pickles and idx files that would take memory, or read it as something else: refused in one line."""

import pickle
import struct
import zlib

import numpy as np
import pytest

from fuzzing import peak_memory
from limbeck.data.images.mnist import read_idx
from limbeck.data.images.pickled import read_pickle
from limbeck.errors import UserError


class Call:
    """Pickles as the call of a function that is found by its name."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


RESTORE = np.empty(0).__reduce__()[0]
OBJECT = np.dtype("O")
ADDRESSES = b"\x01" * 8
HOSTILE = {
    # Called, it would give an array of objects at any address.
    "addresses": Call(np.ndarray, (1,), OBJECT, ADDRESSES),
    "addresses by name": Call(np.ndarray, (1,), "O", ADDRESSES),
    "objects": np.array([None, "a"], dtype=object),
    "objects in a state": Call(RESTORE, np.ndarray, (0,), b"b", state=(1, (1,), OBJECT, False, ADDRESSES)),
    "a structure of objects": Call(np.dtype, [("a", "O")]),
}
PUT = pickle.PROTO + b"\x02" + pickle.EMPTY_DICT
NUMBERS = {
    # A table for such a number takes 64 GiB.
    "a number of four bytes": PUT + pickle.LONG_BINPUT + struct.pack("<I", 2**32 - 1) + pickle.STOP,
    "a number in letters": PUT + pickle.PUT + b"999999999\n" + pickle.STOP,
    "a length": b"\x80\x04" + pickle.BINBYTES8 + struct.pack("<Q", 2**40) + b"x" + pickle.STOP,
    "a frame": b"\x80\x04" + pickle.FRAME + struct.pack("<Q", 2**40) + pickle.EMPTY_DICT + pickle.STOP,
    "depth": pickle.MARK * 10**5 + pickle.LIST * 10**5 + pickle.STOP,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_no_pickle_makes_objects_of_bytes(tmp_path, name, protocol):
    path = tmp_path / "train"
    path.write_bytes(pickle.dumps({"data": HOSTILE[name]}, protocol))
    with pytest.raises(UserError, match=r"train is no pickle of NumPy arrays: [^\n]+$"):
        read_pickle(path)


@pytest.mark.parametrize("name", NUMBERS)
def test_no_pickle_takes_memory_by_a_number(tmp_path, name):
    path = tmp_path / "train"
    path.write_bytes(NUMBERS[name])
    before = peak_memory()
    with pytest.raises(UserError, match="train"):
        read_pickle(path)
    assert peak_memory() < before + 100


def test_an_idx_file_unpacks_no_more_than_its_header_promises(tmp_path):
    path = tmp_path / "labels.gz"
    packer = zlib.compressobj(1, wbits=31)
    blocks = [packer.compress(b"\0\0\x08\x01\0\0\0\x05"), *(packer.compress(bytes(2**20)) for _ in range(300))]
    path.write_bytes(b"".join(blocks) + packer.flush())
    before = peak_memory()
    with pytest.raises(UserError, match=r"labels.gz has more than 13 bytes, expected 13 for its shape \(5,\)"):
        read_idx(path, 1)
    assert peak_memory() < before + 100


def test_an_idx_file_may_promise_anything(tmp_path):
    for name in ("images", "images.gz"):
        path = tmp_path / name
        content = b"\0\0\x08\x03" + b"\xff" * 12 + bytes(100)
        path.write_bytes(content if name == "images" else zlib.compress(content, wbits=31))
        with pytest.raises(UserError, match=r"images(.gz)? has 116 bytes, expected 79228162458924105385300197391"):
            read_idx(path, 3)
