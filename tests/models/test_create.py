"""`create`: the zoo's names and options, and the error for every argument that does not fit."""

from pathlib import Path

import pytest
import torch

from limbeck import models
from limbeck.errors import UserError, unknown_name


def one_line(caught: pytest.ExceptionInfo[UserError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", ["MobileNetV2", "RESNET8", "ShuffleNetV2", "WRN_16_2"])
def test_case_does_not_matter(name: str) -> None:
    assert models.create(name, num_classes=2)(torch.zeros(2, 3, 32, 32)).shape == (2, 2)


def test_weights_are_loaded(tmp_path: Path) -> None:
    source = models.create("resnet8", num_classes=4)
    torch.save(source.state_dict(), tmp_path / "net.pt")
    model = models.create("resnet8", num_classes=4, weights=tmp_path / "net.pt")
    assert torch.equal(model.fc.weight, source.fc.weight)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"name": "resnett8"}, "unknown model 'resnett8'; did you mean 'resnet8'"),
        ({"name": "resnett8"}, "timm:NAME"),
        (
            {"name": "tim:resnet18"},
            "unknown model source 'tim'; did you mean 'timm'? Valid: python, sklearn, timm, torchvision, transformers",
        ),
        ({"name": "resnet8", "widht": 2}, "unknown resnet8 option 'widht'; did you mean 'width'? Valid: width"),
        ({"name": "wrn_16_1", "width": 2}, "unknown wrn_16_1 option 'width'. Valid: dropout"),
        ({"name": "vgg8", "width": 2}, "unknown vgg8 option 'width'. Valid: none"),
        ({"name": "resnet8", "depth": 20}, "unknown resnet8 option 'depth'"),
        ({"name": "resnet8", "width": 0}, "option width: got 0, expected a number above 0"),
        ({"name": "resnet8", "width": "2"}, "option width: got '2', expected a number above 0"),
        ({"name": "mobilenetv2", "width": float("nan")}, "option width: got nan, expected a number above 0"),
        ({"name": "resnet18", "width": True}, "option width: got True, expected a number above 0"),
        ({"name": "wrn_16_1", "dropout": 1}, "option dropout: got 1, expected a number of at least 0 and below 1"),
        ({"name": "wrn_16_1", "dropout": "0"}, "option dropout: got '0'"),
        ({"name": "resnet8", "num_classes": 0}, "'resnet8': num_classes: got 0, expected a whole number of at least 1"),
        ({"name": "resnet8", "num_classes": 2.0}, "num_classes: got 2.0"),
        ({"name": "resnet8", "in_channels": -1}, "in_channels: got -1, expected a whole number of at least 1"),
        ({"name": "resnet8", "in_channels": True}, "in_channels: got True"),
        ({"name": "resnet8", "weights": "no/such.pt"}, "resnet8 weights 'no/such.pt': no such file"),
    ],
)
def test_mistakes(arguments: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        models.create(**{"num_classes": 10, **arguments})
    assert expected in one_line(caught)


def test_a_long_list_of_names_is_counted_not_printed() -> None:
    many = [f"name{i:03}" for i in range(100)]
    assert str(unknown_name("thing", "name07", many)).endswith("Valid: 100 names")
    assert str(unknown_name("thing", "zzz", many)) == (
        "unknown thing 'zzz'. Valid: 100 names, such as name000, name001, name002"
    )
    assert str(unknown_name("thing", "zzz", many[:2], limit=1)).endswith("2 names, such as name000, name001")
