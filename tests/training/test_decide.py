"""Precision and memory format follow device and network by a rule."""

import pytest
import torch
from torch import nn

from limbeck import models
from limbeck.errors import UserError
from limbeck.training import TrainingSettings, decide
from limbeck.training.arithmetic import depthwise_share

SHAPES = {"resnet20": (3, 32, 32), "vgg8": (3, 32, 32), "mobilenetv2": (3, 32, 32), "shufflenetv2": (3, 32, 32)}
SHAPES |= dict.fromkeys(("timm:mobilenetv3_small_050", "timm:efficientnet_lite0", "timm:resnet10t"), (3, 96, 96))


@pytest.fixture
def bf16(monkeypatch):
    """A CPU with bfloat16."""
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)


def chosen(name, **settings):
    network = models.create(name, num_classes=10, in_channels=3)
    return decide(TrainingSettings(device="cpu", **settings), network, torch.zeros(2, *SHAPES[name]))


@pytest.mark.parametrize("name", SHAPES)
def test_depthwise_students_train_in_fp32_and_others_in_bf16(bf16, name):
    depthwise = any(word in name for word in ("mobilenet", "shufflenet", "efficientnet"))
    decided = chosen(name)
    assert (decided.precision, decided.channels_last) == ("fp32" if depthwise else "bf16", True)


def test_what_is_given_is_kept(bf16):
    decided = chosen("mobilenetv2", precision="bf16", channels_last=False)
    assert (decided.device, decided.precision, decided.channels_last) == ("cpu", "bf16", False)


def test_without_bf16_everything_is_fp32(monkeypatch):
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    assert chosen("resnet20").precision == "fp32"


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(UserError, match=r"training\.precision: got 'fp16' on cpu"):
        chosen("resnet20", precision="fp16")


def test_the_share_is_a_count_of_multiply_adds():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, bias=False),  # 8 x 7 x 7 outputs of 27
        nn.Conv2d(8, 16, 3, groups=8, padding=1),  # 16 x 7 x 7 outputs of 9, depthwise with two filters a channel
        nn.Conv2d(16, 4, 1, groups=2),  # 4 x 7 x 7 outputs of 8, grouped
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 10),
    )
    other = 8 * 49 * 27 + 4 * 49 * 8 + 40
    assert depthwise_share(network, torch.zeros(2, 3, 15, 15)) == pytest.approx(16 * 49 * 9 / (16 * 49 * 9 + other))


def test_counting_leaves_the_network_as_it_is():
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1), nn.Dropout(0.5))
    network[1].eval()
    before, mean = torch.get_rng_state(), network[1].running_mean.clone()
    assert depthwise_share(network, torch.ones(2, 1, 4, 4)) == 0
    assert [part.training for part in network] == [True, False, True]
    assert torch.equal(network[1].running_mean, mean)
    assert torch.equal(torch.get_rng_state(), before)
    assert not network[0]._forward_hooks
