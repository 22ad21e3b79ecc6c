"""A full memory in a training, a measurement and a comparison is one line with the batch size to try."""

import pytest
import torch
import yaml
from torch import nn

import limbeck
from limbeck.build import batch_size
from limbeck.build.batch_size import find_batch_size, kept_for_backward, largest_batch
from limbeck.build.context import Context
from limbeck.errors import RunError, UserError
from limbeck.runs import load_recipe
from limbeck.training.memory import full_memory_line, is_out_of_memory

ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to"),
]


def test_which_errors_mean_a_full_memory():
    assert all(map(is_out_of_memory, ERRORS))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(OSError(12, "Cannot allocate memory"))
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**55)
    assert is_out_of_memory(error.value)


def test_the_line_halves_the_batch():
    assert full_memory_line(ERRORS[1], "epoch 1", 48, "training.batch_size").endswith(
        "the memory of the GPU is full with batches of 48, try training.batch_size=24"
    )
    assert full_memory_line(ERRORS[0], "epoch 1", 1, "training.batch_size").endswith(
        "the memory of the machine is full with batches of 1, try a smaller network or smaller inputs"
    )


class Full:
    """Raises an error in the forward pass of batches of at least some size, in train mode or not."""

    def __init__(self, error, size, *, training=True, after=0):
        self.error, self.size, self.training, self.left = error, size, training, after

    def __call__(self, module, inputs):
        if module.training == self.training and len(inputs[0]) >= self.size:
            self.left -= 1
            if self.left < 0:
                raise self.error


def filling(monkeypatch, full, width):
    """Let networks of resnet8 of a width run through ``full``."""
    plain = limbeck.models.create

    def create(name, **options):
        network = plain(name, **options)
        if options.get("width") == width:
            network.register_forward_pre_hook(full)
        return network

    monkeypatch.setattr("limbeck.build.networks.models.create", create)


def failed(recipe, tmp_path, **more):
    with pytest.raises(RunError) as error:
        limbeck.run(recipe, out=tmp_path / "run", **more)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("error", ERRORS)
def test_a_training_step_names_the_batch_to_try_and_what_is_kept(tiny, tmp_path, monkeypatch, error):
    filling(monkeypatch, Full(error, 20, after=4), 0.25)
    line = failed(tiny, tmp_path)
    place = "GPU" if "CUDA" in str(error) else "machine"
    kept = tmp_path / "run" / "checkpoints" / "last"
    assert line == (
        f"epoch 2, step 2 of 3: the memory of the {place} is full with batches of 20, try training.batch_size=10;"
        f" the last good checkpoint is kept in {kept}"
    )
    monkeypatch.undo()


def test_measuring_and_teachers_are_named(tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        filling(patch, Full(ERRORS[1], 30, training=False), 0.25)
        line = failed(tiny, tmp_path)
    expected = "measuring the test split: the memory of the GPU is full, try a smaller network or smaller inputs"
    assert line.startswith(expected)
    with monkeypatch.context() as patch:
        filling(patch, Full(ERRORS[1], 20), 0.5)
        line = failed({**tiny, "method": "kd"}, tmp_path / "other")
    assert line == (
        "teacher: epoch 1, step 1 of 3: the memory of the GPU is full with batches of 20,"
        " try teacher.training.batch_size=10"
    )


def test_in_a_comparison_it_is_a_failed_row(tiny, tmp_path, monkeypatch):
    full = Full(ERRORS[1], 20)
    filling(monkeypatch, full, 0.25)
    full.left = 3 * 2
    recipe = {**tiny, "compare": {"methods": ["none", "label_smoothing"]}}
    found = limbeck.compare(recipe, out=tmp_path / "table", jobs=1)
    assert len(found.failures) == 1
    assert "label_smoothing, seed 0 failed: epoch 1, step 1 of 3: the memory of the GPU is full" in found.failures[0]
    assert found.results[0].figures["accuracy"]


def test_the_largest_batch_is_a_power_of_two_below_a_limit():
    for limit in (2, 3, 4, 63, 64, 65, 1000):
        tried = []

        def fits(size, limit=limit, tried=tried):
            tried.append(size)
            return size <= limit

        expected = max(2**power for power in range(1, 10) if 2**power <= min(limit, 512))
        assert largest_batch(fits, 512) == expected
        assert tried == sorted(tried)
        assert sum(size > limit for size in tried) <= 1


def test_a_batch_size_is_found_by_steps_that_run_out_of_memory(tiny, monkeypatch):
    filling(monkeypatch, Full(ERRORS[1], 3), 0.25)
    recipe = load_recipe({**tiny, "method": "kd", "training": {**tiny["training"], "batch_size": "auto"}})
    lines = []
    before = torch.get_rng_state()
    assert find_batch_size([Context(recipe)], lines.append) == 2
    assert lines == ["training.batch_size: auto is 2, of at most 3 for 60 images; training.optimizer.lr stays 0.05"]
    assert torch.equal(before, torch.get_rng_state())
    filling(monkeypatch, Full(ERRORS[1], 2), 0.25)
    with pytest.raises(RunError, match="the memory does not hold a step of 2 images"):
        find_batch_size([Context(recipe)], lines.append)


@pytest.mark.slow
def test_on_a_cpu_half_of_the_free_memory_bounds_what_a_step_keeps(tiny, monkeypatch):
    recipe = load_recipe({**tiny, "training": {**tiny["training"], "batch_size": "auto"}})
    monkeypatch.setattr(batch_size, "_STEPS", 1)
    network, inputs = Context(recipe).student().module, torch.randn(1, 1, 28, 28)
    with kept_for_backward() as sizes:
        nn.functional.cross_entropy(network(inputs), torch.tensor([1])).backward()
    one = sum(sizes.values())
    for samples, expected in ((5, 4), (11, 8), (1000, 32)):
        monkeypatch.setattr(batch_size, "free_bytes", lambda samples=samples: 2 * one * samples)
        assert find_batch_size([Context(recipe)], lambda line: None) == expected


def test_a_run_records_the_number_and_resumes_with_it(tiny, tmp_path, monkeypatch):
    auto = {**tiny, "training": {**tiny["training"], "batch_size": "auto"}}
    monkeypatch.setattr(batch_size, "_STEPS", 6)
    run = limbeck.run(auto, out=tmp_path / "run", overrides={"training.epochs": 1})
    stored = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert stored["training"]["batch_size"] == 8
    assert "auto is 8, of at most 10 for 60 images" in (tmp_path / "run" / "log.txt").read_text()
    monkeypatch.setattr(batch_size, "_STEPS", 20)
    longer = limbeck.run(auto, out=tmp_path / "run", resume=True)
    assert (run.summary["epoch"], longer.summary["epoch"]) == (1, 2)
    plain = {**tiny, "training": {**tiny["training"], "batch_size": 8, "epochs": 1}}
    assert limbeck.run(plain, out=tmp_path / "plain").summary["test.loss"] == run.summary["test.loss"]
    with pytest.raises(UserError, match="already holds a run"):
        limbeck.run(auto, out=tmp_path / "run")


@pytest.mark.slow
def test_a_comparison_finds_one_number_for_all_methods(tiny, tmp_path, monkeypatch):
    most = {"none": 8, "dist": 4}

    def step(context, size):
        if size > most[context.method.name]:
            raise ERRORS[1]
        return 0.1

    monkeypatch.setattr(batch_size, "_step", step)
    monkeypatch.setattr(batch_size, "_STEPS", 6)
    auto = {**tiny, "training": {**tiny["training"], "batch_size": "auto", "epochs": 1}}
    found = limbeck.compare({**auto, "compare": {"methods": ["none", "dist"]}}, out=tmp_path / "table", jobs=1)
    assert any("training.batch_size: auto is 4, the largest that fits" in note for note in found.notes)
    recipes = [tmp_path / "table" / "recipe.yaml", *(tmp_path / "table").glob("*/seed-0/recipe.yaml")]
    assert [yaml.safe_load(path.read_text())["training"]["batch_size"] for path in recipes] == [4, 4, 4]


def test_where_no_number_can_be_found_it_is_refused(tiny, tmp_path):
    with pytest.raises(UserError, match="teacher.*training.batch_size: got auto, expected a number: it is found for"):
        load_recipe({**tiny, "teacher": {"name": "resnet8", "training": {"batch_size": "auto"}}})
    recipe = {**tiny, "training": {**tiny["training"], "batch_size": "auto"}}
    with pytest.raises(UserError, match="training.batch_size: got auto, expected a number here"):
        limbeck.check(recipe)
    for value in (0, -4, "automatic", 2.5, True):
        with pytest.raises(UserError, match=r"training\.batch_size"):
            load_recipe({**tiny, "training": {"batch_size": value}})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_memory_bounds_the_batch(tiny):
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        cuda = {**tiny["training"], "batch_size": "auto", "device": "cuda"}
        recipe = load_recipe({**tiny, "training": cuda, "student": {"name": "resnet8", "options": {"width": 16.0}}})
        assert find_batch_size([Context(recipe)], print) in {2}
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
