"""torchvision's segmentation networks with their maps as the heads make them, not enlarged to the image's size."""

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.models.segmentation import FCN, LRASPP, DeepLabV3


class _SmallMaps:
    """What DeepLabV3 and FCN share: a backbone with a classifier, and perhaps an auxiliary one."""

    backbone: nn.Module
    classifier: nn.Module
    aux_classifier: nn.Module | None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.backbone(x)
        maps = OrderedDict(out=self.classifier(features["out"]))
        if self.aux_classifier is not None:
            maps["aux"] = self.aux_classifier(features["aux"])
        return maps


class SmallMapsDeepLabV3(_SmallMaps, DeepLabV3):  # type: ignore[misc]
    """DeepLabV3 with maps of logits at the features' size."""


class SmallMapsFCN(_SmallMaps, FCN):  # type: ignore[misc]
    """FCN with maps of logits at the features' size."""


class SmallMapsLRASPP(LRASPP):  # type: ignore[misc]
    """LRASPP with maps of logits at the size of its lower features."""

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        """Return the map of logits, under ``"out"``."""
        maps: dict[str, Tensor] = OrderedDict(out=self.classifier(self.backbone(input)))
        return maps


_SMALL: dict[type[nn.Module], type[nn.Module]] = {
    DeepLabV3: SmallMapsDeepLabV3,
    FCN: SmallMapsFCN,
    LRASPP: SmallMapsLRASPP,
}


def with_small_maps(model: nn.Module) -> nn.Module:
    """Change a segmentation network of torchvision, so that its maps stay as small as its heads make them.

    Names and values of its parameters stay, so that weights fit. Interpolated logits hold nothing new, and losses on
    them cost 16 to 64 times as much.

    Args:
        model: A network of ``torchvision.models.segmentation``; others are returned as they are.

    Example:
        >>> import torch
        >>> from torchvision.models.segmentation import lraspp_mobilenet_v3_large
        >>> model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).eval()
        >>> with_small_maps(model)(torch.zeros(1, 3, 32, 48))["out"].shape
        torch.Size([1, 3, 4, 6])
    """
    # The class alone differs, and has no attributes of its own.
    model.__class__ = _SMALL.get(type(model), type(model))
    return model
