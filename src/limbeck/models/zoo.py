"""The CIFAR zoo of the knowledge-distillation benchmark, by name."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from torch import nn

from limbeck.models.mobilenet import mobilenetv2
from limbeck.models.resnet import BasicBlock, Bottleneck, resnet
from limbeck.models.shufflenet import shufflenetv1, shufflenetv2
from limbeck.models.vgg import vgg
from limbeck.models.wide_resnet import wide_resnet

Builder = partial[nn.Sequential]

_STAGES = (64, 128, 256, 512)


def _cifar(depth: int, stem: int, *channels: int) -> Builder:
    return Builder(resnet, block=BasicBlock, stem=stem, channels=channels, depths=[(depth - 2) // 6] * 3)


ZOO: Mapping[str, Builder] = MappingProxyType(
    {
        "resnet8": _cifar(8, 16, 16, 32, 64),
        "resnet14": _cifar(14, 16, 16, 32, 64),
        "resnet20": _cifar(20, 16, 16, 32, 64),
        "resnet32": _cifar(32, 16, 16, 32, 64),
        "resnet44": _cifar(44, 16, 16, 32, 64),
        "resnet56": _cifar(56, 16, 16, 32, 64),
        "resnet110": _cifar(110, 16, 16, 32, 64),
        "resnet8x4": _cifar(8, 32, 64, 128, 256),
        "resnet32x4": _cifar(32, 32, 64, 128, 256),
        "resnet18": Builder(resnet, block=BasicBlock, stem=64, channels=_STAGES, depths=(2, 2, 2, 2)),
        "resnet50": Builder(resnet, block=Bottleneck, stem=64, channels=_STAGES, depths=(3, 4, 6, 3)),
        "wrn_16_1": Builder(wide_resnet, depth=16, widen=1),
        "wrn_16_2": Builder(wide_resnet, depth=16, widen=2),
        "wrn_40_1": Builder(wide_resnet, depth=40, widen=1),
        "wrn_40_2": Builder(wide_resnet, depth=40, widen=2),
        "vgg8": Builder(vgg, depths=(1, 1, 1, 1, 1)),
        "vgg11": Builder(vgg, depths=(1, 1, 2, 2, 2)),
        "vgg13": Builder(vgg, depths=(2, 2, 2, 2, 2)),
        "vgg16": Builder(vgg, depths=(2, 2, 3, 3, 3)),
        "mobilenetv2": Builder(mobilenetv2),
        "shufflenetv1": Builder(shufflenetv1, channels=(240, 480, 960), depths=(4, 8, 4), groups=3),
        "shufflenetv2": Builder(shufflenetv2, channels=(116, 232, 464), depths=(4, 8, 4), features=1024),
    }
)
