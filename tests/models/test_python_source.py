"""Models that a user's own function builds, from a file in the current folder."""

import os
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from limbeck import models
from limbeck.errors import UserError

SOURCE = """
from torch import nn

NUMBER = 3

class Net(nn.Module):
    def __init__(self, num_classes, hidden=4):
        super().__init__()
        self.fc = nn.Linear(hidden, num_classes)

def takes_neither(path="default"):
    net = nn.Linear(2, 2)
    net.path = path
    return net.eval()

def takes_both(num_classes, in_channels, *, hidden=5):
    stem = nn.Conv2d(in_channels, hidden, 1)
    return nn.Sequential(stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(hidden, num_classes))

def takes_any(**arguments):
    net = nn.Identity()
    net.arguments = arguments
    return net

def needs(depth):
    return nn.Identity()

def gives_text():
    return "net"

def breaks():
    raise FileNotFoundError("no\\nweights")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "limbeck_test_net.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    # Registered for removal before the import, so that the next test reads its own file.
    monkeypatch.setitem(sys.modules, "limbeck_test_net", None)
    monkeypatch.delitem(sys.modules, "limbeck_test_net")
    return tmp_path


def create(function: str, **options: object) -> nn.Module:
    return models.create(f"python:limbeck_test_net:{function}", num_classes=10, in_channels=2, **options)


@pytest.mark.usefixtures("folder")
def test_facts_are_given_as_far_as_the_function_takes_them() -> None:
    before = list(sys.path)
    assert create("takes_neither").path == "default"
    assert create("takes_neither", path="here").path == "here"
    assert create("takes_both", hidden=6)(torch.zeros(3, 2, 8, 8)).shape == (3, 10)
    assert create("takes_any", a=1).arguments == {"num_classes": 10, "in_channels": 2, "a": 1}
    assert create("Net", hidden=3).fc.weight.shape == (10, 3)
    assert sys.path == before


@pytest.mark.usefixtures("folder")
def test_the_functions_own_mode_stays() -> None:
    assert not create("takes_neither").training


def test_importing_leaves_the_folder_out_of_the_path_after_an_error(folder: Path) -> None:
    with pytest.raises(UserError):
        create("breaks")
    assert str(folder) not in sys.path


def test_weights_are_loaded(folder: Path) -> None:
    source = nn.Linear(2, 2)
    torch.save(source.state_dict(), folder / "net.pt")
    model = models.create("python:limbeck_test_net:takes_neither", num_classes=2, weights=folder / "net.pt")
    assert torch.equal(model.weight, source.weight)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("limbeck_test_net", {}, "expected python:MODULE:FUNCTION, such as python:teacher:load"),
        ("limbeck_test_net:", {}, "expected python:MODULE:FUNCTION"),
        ("limbeck_no_such:load", {}, "importing 'limbeck_no_such' failed: ModuleNotFoundError: No module named"),
        (
            "limbeck_test_net:takes_noth",
            {},
            "unknown function of module 'limbeck_test_net': 'takes_noth'; did you mean",
        ),
        ("limbeck_test_net:NUMBER", {}, "'NUMBER' is a int, expected a function or a class of torch.nn.Module"),
        ("limbeck_test_net:takes_both", {"hiden": 1}, "option 'hiden'; did you mean 'hidden'? Valid: hidden"),
        (
            "limbeck_test_net:takes_neither",
            {"a": 1},
            "unknown python:limbeck_test_net:takes_neither option 'a'. Valid: path",
        ),
        ("limbeck_test_net:needs", {}, "the function needs the option 'depth', which was not given"),
        ("limbeck_test_net:gives_text", {}, "returned a str, expected a torch.nn.Module"),
        ("limbeck_test_net:breaks", {}, "could not be built: FileNotFoundError: no weights"),
    ],
)
def test_mistakes(name: str, options: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        models.create(f"python:{name}", num_classes=10, **options)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(:\n", "SyntaxError: "),
        ("1 / 0\n", "ZeroDivisionError: "),
        ("import limbeck_absent\n", "'limbeck_absent'"),
        ("raise SystemExit(0)\n", "SystemExit: 0"),
    ],
)
def test_a_module_that_cannot_be_imported(folder: Path, source: str, expected: str) -> None:
    (folder / "limbeck_test_broken.py").write_text(source)
    with pytest.raises(UserError, match="importing 'limbeck_test_broken' failed") as caught:
        models.create("python:limbeck_test_broken:f", num_classes=10)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.shared
def test_a_real_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = os.environ.get("LIMBECK_SHARED")
    if not shared:
        pytest.skip("LIMBECK_SHARED does not name the data folder")
    monkeypatch.chdir(Path(shared) / "data" / "cifar100-teacher")
    net = models.create("python:teacher:load", num_classes=100, weights="teacher.safetensors")
    assert sum(p.numel() for p in net.parameters()) == 483_192
    assert not net.training
    assert models.head(net, 100) is net.classifier
