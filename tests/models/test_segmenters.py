"""Networks for segmentation: sizes of maps, heads by name, torchvision's weights, and what is refused."""

import pickle

import pytest
import torch
from torchvision import models as tv

from limbeck import models
from limbeck.errors import UserError

TORCHVISION = {
    "deeplabv3_resnet50": 8,
    "deeplabv3_mobilenet_v3_large": 16,
    "fcn_resnet50": 8,
    "lraspp_mobilenet_v3_large": 8,
}


@pytest.mark.parametrize(("name", "stride"), TORCHVISION.items())
def test_maps_of_torchvision_are_not_enlarged(name, stride):
    torch.manual_seed(0)
    net = models.create(f"torchvision:{name}", num_classes=5, in_channels=3).eval()
    original = getattr(tv.segmentation, name)(weights=None, weights_backbone=None, num_classes=5).eval()
    original.load_state_dict(net.state_dict())
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        maps, full = net(images)["out"], original(images)["out"]
    assert maps.shape == (2, 5, 64 // stride, 48 // stride)
    enlarged = torch.nn.functional.interpolate(maps, (64, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarged, full)


def test_auxiliary_heads_of_torchvision_and_other_channels():
    net = models.create("torchvision:fcn_resnet50", num_classes=5, in_channels=1, aux_loss=True)
    output = net(torch.randn(2, 1, 32, 32))
    assert {name: tuple(maps.shape) for name, maps in output.items()} == {"out": (2, 5, 4, 4), "aux": (2, 5, 4, 4)}
    assert type(pickle.loads(pickle.dumps(net))) is type(net)


def test_the_small_one_and_timms_features():
    images = torch.randn(2, 3, 64, 48)
    assert models.create("small_segmenter", num_classes=5, width=8, blocks=3)(images).shape == (2, 5, 16, 12)
    maps = models.create("small_segmenter", num_classes=5, in_channels=3, width=8, aux=True)(images)
    assert list(maps) == ["out", "aux"]
    for stride in (4, 8):
        options = {"backbone": "mobilenetv3_small_050", "width": 16, "stride": stride, "aux": True}
        net = models.create("segmenter", num_classes=5, in_channels=3, **options)
        maps = net(images)
        assert maps["out"].shape == (2, 5, 64 // stride, 48 // stride)
        maps["out"].sum().backward()
        assert net.lateral[0].weight.grad is not None


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("segmenter", {}, "needs the option 'backbone'"),
        ("segmenter", {"backbone": "resnet17"}, "unknown timm model 'resnet17'"),
        (
            "segmenter",
            {"backbone": "mobilenetv3_small_050", "stride": 3},
            "stride: got 3, expected one of",
        ),
        ("small_segmenter", {"width": 0}, "width and blocks: got 0"),
        ("small_segmenter", {"depth": 3}, "depth"),
    ],
)
def test_wrong_options_are_refused(name, options, line):
    with pytest.raises(UserError, match=line):
        models.create(name, num_classes=3, in_channels=3, **options)
