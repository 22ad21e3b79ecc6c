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


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model", "student", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "student.module."])
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


def test_a_layer_named_module(tmp_path: Path) -> None:
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


# torch itself remarks that it looks at a sparse tensor once more.
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            [1, 2],
            "holds a list, expected a state dict (names to tensors), plain or under state_dict, model_state_dict,"
            " model, student, net; weights_entry names another key",
        ),
        (torch.zeros(2), "holds a Tensor, expected a state dict"),
        ({"epoch": 1, "model": {"a": 1}}, "holds a dict with the keys epoch, model, expected a state dict"),
        ({1: torch.zeros(1)}, "holds a dict with the keys 1, expected a state dict"),
        (
            Net(),
            "holds a pickled test_load_weights.Net, which could run code when loaded; save the model's state_dict()",
        ),
        ({"model": Net()}, "holds a pickled test_load_weights.Net, which could run code when loaded"),
        ({"model": Command()}, "system, which could run code when loaded"),
        ({"model": source_state(), "args": Command()}, "system, which could run code when loaded"),
        ({"weights": source_state()}, "holds a dict with the keys weights, expected a state dict"),
        ({"model_ema": source_state()}, "holds averaged weights only, expected weights_entry: model_ema to take them"),
        (
            source_state() | {"layer.bias": torch.zeros(3, device="meta")},
            "layer.bias has no values (a meta tensor) in the file, expected a dense tensor",
        ),
        (
            source_state() | {"layer.bias": torch.zeros(3).to_sparse()},
            "layer.bias has the layout torch.sparse_coo in the file, expected a dense tensor",
        ),
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


class Ran:
    """Leaves a file behind when it is unpickled as pickle does it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return eval, (f"open({str(self.path)!r}, 'w').close() or {{}}",)


class Inner:
    def __init__(self, path: Path) -> None:
        self.held = [Ran(path)]

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise AssertionError("the file's own code ran")


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_of_the_file_ever_runs(tmp_path: Path, legacy: bool) -> None:
    mark, state, path = tmp_path / "ran", source_state(), tmp_path / "a.pt"
    for beside in (Ran(mark), Inner(mark), {"a": [Ran(mark), {"b": Inner(mark)}]}, (argparse.Namespace, Path, print)):
        torch.save({"model": state, "beside": beside}, path, _use_new_zipfile_serialization=not legacy)
        net = Net()
        models.load_weights(net, path)
        assert same(net, state)
        assert not mark.exists()
    # As a whole and in the place of weights nothing runs either.
    for content in (Ran(mark), {"model": Ran(mark)}, {"model": {"layer.weight": Ran(mark)}}):
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(UserError):
            models.load_weights(Net(), path)
        assert not mark.exists()
    torch.save(Inner(mark), path)
    with pytest.raises(AssertionError, match="the file's own code ran"):
        torch.load(path, weights_only=False)
    assert mark.exists()


def optimizer_state(net: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    sum(parameter.sum() for parameter in net.parameters()).backward()
    optimizer.step()
    return optimizer.state_dict()


def lightning(state: dict[str, Tensor]) -> dict[str, Any]:
    return {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{key}": value for key, value in state.items()} | {"criterion.weight": torch.ones(3)},
        "optimizer_states": [optimizer_state(Net())],
        "callbacks": {"ModelCheckpoint": {"best_model_path": Path("a.ckpt"), "current_score": torch.tensor(0.5)}},
        "hyper_parameters": argparse.Namespace(lr=0.1),
    }


def timm(state: dict[str, Tensor]) -> dict[str, Any]:
    averaged = {f"module.{key}": value + 1 for key, value in state.items()}
    args = argparse.Namespace(model="resnet18", output=Path("out"))
    about = {"epoch": 3, "arch": "net", "metric": np.float64(0.5), "version": 2, "args": args}
    return {**about, "state_dict": state, "optimizer": optimizer_state(Net()), "state_dict_ema": averaged}


def torchvision(state: dict[str, Tensor]) -> dict[str, Any]:
    averaged = {f"module.{key}": value + 1 for key, value in state.items()} | {"n_averaged": torch.tensor(7)}
    args = argparse.Namespace(data_path="x", lr=0.1)
    return {
        "model": {f"module.{key}": value for key, value in state.items()},
        "optimizer": optimizer_state(Net()),
        "lr_scheduler": OrderedDict(last_epoch=3),
        "epoch": 3,
        "args": args,
        "model_ema": averaged,
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("script", [lightning, timm, torchvision])
def test_checkpoints_of_training_scripts(tmp_path: Path, script: Any, legacy: bool) -> None:
    state, net, path = source_state(), Net(), tmp_path / "last.ckpt"
    torch.save(script(state), path, _use_new_zipfile_serialization=not legacy)
    notes = models.load_weights(net, path)
    assert same(net, state)
    expected = {
        lightning: "1 left out beside the network (criterion.weight)",
        timm: "taken from 'state_dict'; weights_entry: state_dict_ema takes the averaged ones",
        torchvision: "taken from 'model'; weights_entry: model_ema takes the averaged ones",
    }
    assert len(notes) == 1
    assert expected[script] in notes[0]


@pytest.mark.parametrize(("script", "entry"), [(timm, "state_dict_ema"), (torchvision, "model_ema")])
def test_averaged_weights_are_chosen_on_purpose(tmp_path: Path, script: Any, entry: str) -> None:
    state, net = source_state(), Net()
    torch.save(script(state), tmp_path / "last.pt")
    assert models.load_weights(net, tmp_path / "last.pt", entry=entry) == ()
    assert torch.equal(net.layer.weight, state["layer.weight"] + 1)


def test_an_entry_within_an_entry_and_entries_that_are_not_there(tmp_path: Path) -> None:
    state, net, path = source_state(), Net(), tmp_path / "a.pt"
    torch.save({"ema": {"weights": state, "decay": 0.9}, "a.b": state, "odd": argparse.Namespace()}, path)
    for entry in ("ema.weights", "a.b"):
        models.load_weights(net, path, entry=entry)
        assert same(net, state)
    for entry, message in (
        ("emma", "weights_entry: got 'emma', but it holds a dict with the keys ema, a.b, odd"),
        ("ema.x", "weights_entry: got 'ema.x', but it holds a dict with the keys weights, decay"),
        ("ema", "'ema' holds a dict with the keys weights, decay, expected names to tensors"),
        ("odd", "'odd' holds a pickled argparse.Namespace, expected names to tensors"),
    ):
        with pytest.raises(UserError) as caught:
            models.load_weights(net, path, entry=entry)
        assert message in str(caught.value)


def test_the_student_of_another_framework_beside_its_teacher(tmp_path: Path) -> None:
    state, net = source_state(), Net()
    both = {f"student.{key}": value for key, value in state.items()}
    torch.save(both | {f"teacher.{key}": value + 1 for key, value in state.items()}, tmp_path / "a.pt")
    assert f"{len(state)} left out" in models.load_weights(net, tmp_path / "a.pt")[0]
    assert same(net, state)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(source_state(), tmp_path / "a.pt")
    models.load_weights(Net(), "~/a.pt")


class Classifier(nn.Module):
    def __init__(self, num_classes: int, width: int = 4) -> None:
        super().__init__()
        self.stem, self.norm, self.fc = nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, num_classes)


@pytest.mark.parametrize("classes", [3, 5])
def test_a_pretrained_body_beside_a_new_head(tmp_path: Path, classes: int) -> None:
    source, net = Classifier(3), Classifier(classes)
    fresh = net.fc.weight.clone()
    torch.save({"model": {f"module.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "a.pt")
    notes = models.load_body(net, tmp_path / "a.pt", num_classes=classes)
    assert torch.equal(net.stem.weight, source.stem.weight)
    if classes == 3:
        assert (notes, torch.equal(net.fc.weight, source.fc.weight)) == ((), True)
    else:
        assert "6 of 8 tensors loaded; 2 new (fc.weight, fc.bias)" in notes[0]
        assert torch.equal(net.fc.weight, fresh)


def test_a_body_without_any_head_and_a_head_that_is_left_out(tmp_path: Path) -> None:
    source, net = Classifier(3), Classifier(3)
    fresh = net.fc.weight.clone()
    torch.save(source.state_dict(), tmp_path / "whole.pt")
    torch.save({k: v for k, v in source.state_dict().items() if "fc" not in k}, tmp_path / "body.pt")
    assert "2 new (fc.weight" in models.load_body(net, tmp_path / "body.pt", num_classes=3)[0]
    assert "2 new (fc.weight" in models.load_body(net, tmp_path / "whole.pt", num_classes=3, keep_head=False)[0]
    assert torch.equal(net.fc.weight, fresh)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(Classifier(3, width=6).state_dict(), tmp_path / "wide.pt")
    net = Classifier(5)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(UserError, match=r"0 of the 6 tensors of the network's body are in the file with their shape"):
        models.load_body(net, tmp_path / "wide.pt", num_classes=5)
    assert same(net, before)
    torch.save(Classifier(5).state_dict() | {"b": torch.ones(1)}, tmp_path / "more.pt")
    with pytest.raises(UserError, match="the keys are not this model's: 1 unexpected"):
        models.load_body(net, tmp_path / "more.pt", num_classes=5)
