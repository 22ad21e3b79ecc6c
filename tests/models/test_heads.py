"""`head`: the layer that makes the logits."""

import pytest
import torch
from torch import nn

from limbeck import models
from limbeck.errors import UserError
from limbeck.models.zoo import ZOO


@pytest.mark.parametrize("name", ZOO)
def test_zoo(name: str) -> None:
    with torch.device("meta"):
        model = models.create(name, num_classes=7)
    assert models.head(model, 7) is model.fc


def test_timms_classifier_is_the_head() -> None:
    model = models.create("timm:test_resnet", num_classes=7)
    assert models.head(model, 7) is model.get_classifier()


def test_timms_classifier_precedes_a_later_layer() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.auxiliary = nn.Linear(2, 7), nn.Linear(2, 7)

        def get_classifier(self) -> nn.Module:
            return self.fc

    net = Net()
    assert models.head(net, 7) is net.fc


def test_last_fitting_layer() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 4))
    assert models.head(net, 3) is net[1]


def test_compiled() -> None:
    net = models.create("resnet8", num_classes=7)
    assert models.head(torch.compile(net), 7) is net.fc


@pytest.mark.parametrize("net", [nn.ReLU(), nn.Linear(3, 4)])
def test_none(net: nn.Module) -> None:
    with pytest.raises(UserError, match=f"{type(net).__name__}: no nn.Linear with 3 outputs found"):
        models.head(net, 3)
