"""Files of weights from anywhere: what is no file of weights is one line, and no code in it ever runs."""

import argparse
import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from fuzzing import amounts, damaged, fuzz
from limbeck import models
from limbeck.errors import UserError
from limbeck.models.checkpoints import read_about
from limbeck.models.weights import load_body

DTYPES = ("F64", "F16", "BF16", "F8_E4M3", "I64", "BOOL", "U16", "C64", "X", "")
SHAPES = ("[]", "[-1]", "[4, 3, 0]", "[2, 6]", "[99999999999]", "[18446744073709551615, 2]", '"x"', "{}")
OFFSETS = ("[48, 0]", "[0, 0]", "[0, 9999999]", "[-1, 3]", "[0]", "null")


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def torch_files():
    """Files as training scripts write them: bare, beside other things, in the format of before, averaged alone."""
    state = network().state_dict()
    beside = {"state_dict": state, "epoch": 1, "args": argparse.Namespace(lr=1), "accuracy": np.float64(0.5)}
    older = saved(state, _use_new_zipfile_serialization=False)
    return saved(state), saved(beside), older, saved({"model_ema": state})


def headers():
    """Safetensors with a header of the right length and any entry."""
    entry = '{"0.weight": {"dtype": "%s", "shape": %s, "data_offsets": %s}}'
    parts = (("F32", *DTYPES), ("[4, 3]", *SHAPES), ("[0, 48]", *OFFSETS))
    text = st.tuples(*map(st.sampled_from, parts)).map(lambda chosen: (entry % chosen).encode())
    return text.map(lambda header: struct.pack("<Q", len(header)) + header + bytes(48))


def read(path, content, entry=None):
    path.write_bytes(content)
    with warnings.catch_warnings():
        # A warning would be a line more on the command line.
        warnings.simplefilter("error")
        models.load_weights(network(), path, entry=entry)


@amounts(60, 900)
def test_files_of_torch(examples, slow_counts, tmp_path):
    entries = st.sampled_from((None, None, None, "model", "state_dict", "a.b"))
    inputs = st.tuples(damaged(*torch_files()), entries)
    fuzz(lambda v: read(tmp_path / "a.pt", *v), inputs, examples=examples, count=slow_counts, seconds=10)


@amounts(60, 900)
def test_safetensors(examples, slow_counts, tmp_path):
    state = dict(network().state_dict())
    files = save(state), save(state, metadata={"limbeck": json.dumps({"name": "x"})})
    path = tmp_path / "a.safetensors"

    def both(content):
        path.write_bytes(content)
        read_about(path)
        load_body(network(), path, num_classes=2)
        read(path, content)

    fuzz(both, damaged(*files) | headers(), examples=examples, count=slow_counts, seconds=10)


class Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("form", ["plain", "entry", "beside", "key", "torch", "older", "state"])
def test_code_in_a_pickle_never_runs(tmp_path, form):
    bad, state = Runs(tmp_path / "ran"), network().state_dict()
    contents = {
        "plain": pickle.dumps(bad),
        "entry": saved({"state_dict": bad}),
        "beside": saved({"state_dict": state, "hook": bad}),
        "key": saved({"state_dict": {**state, "hook": bad}}),
        "torch": saved(bad),
        "older": saved({"model": bad}, _use_new_zipfile_serialization=False),
        "state": saved([bad, state]),
    }
    path = tmp_path / "a.pt"
    path.write_bytes(contents[form])
    with suppress(UserError):
        models.load_weights(network(), path)
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_unpacks_to_far_more_than_it_is(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(50_000_000))
    with pytest.raises(UserError, match=r"bytes that unpack to 50,000,000, expected a file that torch\.save wrote"):
        models.load_weights(network(), path)


def test_weights_that_are_not_numbers_are_named(tmp_path):
    state = network().state_dict()
    state["1.running_var"][2] = float("nan")
    path = tmp_path / "a.pt"
    torch.save(state, path)
    with pytest.raises(UserError, match=r"1\.running_var holds nan in the file, expected the weights of a training"):
        models.load_weights(network(), path)
    assert read_about(path) == {}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_no_regular_file(tmp_path, suffix):
    fifo, folder = tmp_path / f"fifo{suffix}", tmp_path / f"folder{suffix}"
    os.mkfifo(fifo)
    folder.mkdir()
    for path in (fifo, folder):
        with pytest.raises(UserError, match="expected a safetensors or torch file"):
            models.load_weights(network(), path)
