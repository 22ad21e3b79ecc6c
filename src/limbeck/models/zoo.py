"""The CIFAR zoo of the knowledge-distillation benchmark, by name."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import nn

from limbeck.models.mobilenet import mobilenetv2
from limbeck.models.resnet import BasicBlock, Bottleneck, cifar_resnet, imagenet_resnet
from limbeck.models.shufflenet import shufflenetv1, shufflenetv2
from limbeck.models.vgg import vgg
from limbeck.models.wide_resnet import wide_resnet

Builder = partial[nn.Sequential]

_NARROW = (16, 16, 32, 64)
_WIDE = (32, 64, 128, 256)


def _entry(build: Callable[..., nn.Sequential], **fixed: object) -> Builder:
    return partial(build, **fixed)


ZOO: Mapping[str, Builder] = MappingProxyType(
    {
        "resnet8": _entry(cifar_resnet, depth=8, channels=_NARROW),
        "resnet14": _entry(cifar_resnet, depth=14, channels=_NARROW),
        "resnet20": _entry(cifar_resnet, depth=20, channels=_NARROW),
        "resnet32": _entry(cifar_resnet, depth=32, channels=_NARROW),
        "resnet44": _entry(cifar_resnet, depth=44, channels=_NARROW),
        "resnet56": _entry(cifar_resnet, depth=56, channels=_NARROW),
        "resnet110": _entry(cifar_resnet, depth=110, channels=_NARROW),
        "resnet8x4": _entry(cifar_resnet, depth=8, channels=_WIDE),
        "resnet32x4": _entry(cifar_resnet, depth=32, channels=_WIDE),
        "resnet18": _entry(imagenet_resnet, block=BasicBlock, depths=(2, 2, 2, 2)),
        "resnet50": _entry(imagenet_resnet, block=Bottleneck, depths=(3, 4, 6, 3)),
        "wrn_16_1": _entry(wide_resnet, depth=16, widen=1),
        "wrn_16_2": _entry(wide_resnet, depth=16, widen=2),
        "wrn_40_1": _entry(wide_resnet, depth=40, widen=1),
        "wrn_40_2": _entry(wide_resnet, depth=40, widen=2),
        "vgg8": _entry(vgg, depths=(1, 1, 1, 1, 1)),
        "vgg11": _entry(vgg, depths=(1, 1, 2, 2, 2)),
        "vgg13": _entry(vgg, depths=(2, 2, 2, 2, 2)),
        "vgg16": _entry(vgg, depths=(2, 2, 3, 3, 3)),
        "mobilenetv2": _entry(mobilenetv2),
        "shufflenetv1": _entry(shufflenetv1, channels=(240, 480, 960), depths=(4, 8, 4), groups=3),
        "shufflenetv2": _entry(shufflenetv2, channels=(116, 232, 464), depths=(4, 8, 4), features=1024),
    }
)
