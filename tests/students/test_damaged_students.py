"""Students' files with any metadata: it loads and predicts probabilities, or one line names the file and the entry."""

import json

import pytest
import torch
from safetensors.torch import load_file, save, save_file

import limbeck
from changed_json import changed
from fuzzing import Crash, amounts, damaged, fuzz
from limbeck.errors import UserError
from limbeck.models.checkpoints import read_about

SAMPLES = {
    "table_run": [{"size": 1.0, "color": "red"}, {"size": 2.0, "color": "blue"}],
    "text_run": ["a loan please", "hello"],
    "photo_run": torch.zeros(2, 3, 30, 40, dtype=torch.uint8),
}


@pytest.mark.parametrize("fixture", SAMPLES)
@amounts(25, 250)
def test_changed_metadata(examples, fixture, request, slow_counts, tmp_path):
    file = request.getfixturevalue(fixture).folder / "student.safetensors"
    tensors, path = load_file(file), tmp_path / "student.safetensors"

    def predict(about):
        save_file(tensors, path, metadata={"limbeck": json.dumps(about)})
        made = limbeck.load(path).predict(SAMPLES[fixture])
        if not bool(made.isfinite().all()) or len(made) != 2:
            raise Crash(f"predicted {made}")

    fuzz(predict, changed(read_about(file)), examples=examples, count=slow_counts, seconds=20)


@amounts(25, 300)
def test_damaged_files(examples, table_run, slow_counts, tmp_path):
    file, path = table_run.folder / "student.safetensors", tmp_path / "student.safetensors"
    whole = file.read_bytes()

    def predict(content):
        path.write_bytes(content)
        made = limbeck.load(path).predict(SAMPLES["table_run"])
        if not bool((made >= 0).all()):
            raise Crash(f"predicted {made}")

    bare = save(load_file(file))
    fuzz(predict, damaged(whole, whole, bare), examples=examples, count=slow_counts, seconds=20)


def test_probabilities_that_are_no_numbers_are_an_error(table_run, tmp_path):
    tensors, path = load_file(table_run.folder / "student.safetensors"), tmp_path / "student.safetensors"
    for tensor in tensors.values():
        if tensor.is_floating_point():
            tensor.fill_(3e38)
    save_file(tensors, path, metadata={"limbeck": json.dumps(read_about(table_run.folder / "student.safetensors"))})
    with pytest.raises(UserError, match=r"student\.safetensors: its probabilities of sample 1 are nan"):
        limbeck.load(path).predict(SAMPLES["table_run"])
