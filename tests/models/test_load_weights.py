"""`load_weights`: every kind of file that loads, and one clear line for every kind that does not."""

import argparse
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from limbeck import models
from limbeck.errors import UserError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(2, 3), nn.BatchNorm1d(3)


def source_state() -> dict[str, Tensor]:
    torch.manual_seed(5)
    net = Net()
    net.norm.running_mean.normal_()
    return net.state_dict()


def load(path: Path, content: object, net: nn.Module | None = None) -> nn.Module:
    net = Net() if net is None else net
    torch.save(content, path)
    models.load_weights(net, path)
    return net


def same(net: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("key", [None, "state_dict", "model", "student", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_torch_files(tmp_path: Path, key: str | None, prefix: str) -> None:
    state = source_state()
    content: Any = OrderedDict((prefix + name, value) for name, value in state.items())
    assert same(load(tmp_path / "a.pt", content if key is None else {"epoch": 3, key: content}), state)


def test_safetensors(tmp_path: Path) -> None:
    state, net = source_state(), Net()
    save_file(state, tmp_path / "a.safetensors")
    models.load_weights(net, str(tmp_path / "a.safetensors"))
    assert same(net, state)


def test_into_a_compiled_model(tmp_path: Path) -> None:
    state, net = source_state(), Net()
    load(tmp_path / "a.pt", state, torch.compile(net))
    assert same(net, state)


def test_a_layer_that_is_really_called_module(tmp_path: Path) -> None:
    state = nn.Sequential(OrderedDict(module=nn.Linear(2, 3))).state_dict()
    assert same(load(tmp_path / "a.pt", state, nn.Sequential(OrderedDict(module=nn.Linear(2, 3)))), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_becomes_the_models(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in source_state().items()}
    net = load(tmp_path / "a.pt", state)
    assert net.layer.weight.dtype == torch.float32
    assert torch.equal(net.layer.weight, state["layer.weight"].float())


def test_accuracies_saved_as_numpy_scalars_beside_the_weights(tmp_path: Path) -> None:
    state = source_state()
    assert same(load(tmp_path / "a.pt", {"model": state, "a": np.float64(0.5), "b": np.float32(0.5)}), state)


def test_batch_norm_without_its_counter(tmp_path: Path) -> None:
    state = {k: v for k, v in source_state().items() if not k.endswith("num_batches_tracked")}
    assert torch.equal(load(tmp_path / "a.pt", state).norm.running_mean, state["norm.running_mean"])


BENCHMARK_SPELLINGS = {
    "resnet8": (("shortcut.", "downsample."),),
    "resnet50": (("fc.", "linear."),),
    "wrn_16_1": (("shortcut.", "convShortcut."), ("block1.", "block1.layer."), ("block3.", "block3.layer.")),
    "vgg8": (("fc.", "classifier."),),
    "mobilenetv2": (("fc.", "classifier.0."),),
    "shufflenetv1": (("fc.", "linear."),),
}


@pytest.mark.parametrize("name", BENCHMARK_SPELLINGS)
def test_the_benchmarks_own_names_of_layers(tmp_path: Path, name: str) -> None:
    state = models.create(name, num_classes=5).state_dict()
    renamed = dict(state)
    for ours, theirs in BENCHMARK_SPELLINGS[name]:
        renamed = {key.replace(ours, theirs): value for key, value in renamed.items()}
    assert renamed.keys() != state.keys()
    assert same(load(tmp_path / "a.pt", {"model": renamed}, models.create(name, num_classes=5)), state)


def test_two_spellings_of_one_layer_are_not_merged(tmp_path: Path) -> None:
    state = models.create("resnet8", num_classes=5).state_dict()
    extra = {"linear.weight": state["fc.weight"]}
    for content in (state | extra, extra | state):
        with pytest.raises(UserError, match=r"1 unexpected \(linear\.weight\)"):
            load(tmp_path / "a.pt", content, models.create("resnet8", num_classes=5))


class Command:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("exit 1",)


def without(key: str) -> dict[str, Tensor]:
    return {name: value for name, value in source_state().items() if name != key}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            [1, 2],
            "holds a list, expected a state dict (names to tensors), plain or under state_dict, model, student, net",
        ),
        (torch.zeros(2), "holds a Tensor, expected a state dict"),
        ({"epoch": 1, "model": {"a": 1}}, "holds a dict with the keys epoch, model, expected a state dict"),
        ({1: torch.zeros(1)}, "holds a dict with the keys 1, expected a state dict"),
        (
            Net(),
            "holds a pickled test_load_weights.Net, which could run code when loaded; save the model's state_dict()",
        ),
        ({"model": source_state(), "args": argparse.Namespace(a=1)}, "holds a pickled argparse.Namespace"),
        (Command(), "system, which could run code when loaded"),
        (without("layer.bias"), "the keys are not this model's: 1 missing (layer.bias)"),
        (source_state() | {"b": torch.zeros(1)}, "the keys are not this model's: 1 unexpected (b)"),
        (without("layer.bias") | {"b": torch.zeros(1)}, "1 missing (layer.bias); 1 unexpected (b)"),
        ({}, "6 missing (layer.weight, layer.bias, norm.weight, ...)"),
        (
            source_state() | {"layer.weight": torch.zeros(3, 4)},
            "layer.weight has shape (3, 4) in the file, (3, 2) in the model",
        ),
        (
            source_state() | {"layer.bias": torch.zeros(3, dtype=torch.int8)},
            "layer.bias is torch.int8 in the file, torch.float32 in the model",
        ),
    ],
)
def test_content_that_does_not_fit(tmp_path: Path, content: object, expected: str) -> None:
    net = Net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load(tmp_path / "a.pt", content, net)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"model weights '{tmp_path / 'a.pt'}': ")
    assert "\n" not in str(caught.value)
    assert same(net, before)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pt", None, "no such file"),
        ("", None, "a folder, expected a safetensors or torch file"),
        ("a.pt", b"", "not a file of tensors that torch.save wrote"),
        ("a.pt", b"hello", "not a file of tensors that torch.save wrote"),
        ("a.pt", b"PK\x03\x04 half a zip", "not a file of tensors that torch.save wrote"),
        ("a.safetensors", b"hello" * 9, "not a readable safetensors file"),
        ("a.safetensors", b"", "not a readable safetensors file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, expected: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"^teacher weights ") as caught:
        models.load_weights(Net(), tmp_path / name, name="teacher")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
