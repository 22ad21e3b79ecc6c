"""Models of timm and torchvision."""

import pytest
import torch

from limbeck import models
from limbeck.errors import UserError


def test_timm() -> None:
    model = models.create("timm:test_resnet", num_classes=7, in_channels=1, drop_rate=0.25)
    assert model.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
    assert model.drop_rate == 0.25


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_torchvision(name: str, channels: int) -> None:
    model = models.create(f"torchvision:{name}", num_classes=7, in_channels=channels).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, channels, 64, 64)).shape == (2, 7)


def test_grey_image_counts_as_its_three_equal_channels() -> None:
    torch.manual_seed(0)
    colour = models.create("torchvision:resnet18", num_classes=7).eval()
    torch.manual_seed(0)
    grey = models.create("torchvision:resnet18", num_classes=7, in_channels=1).eval()
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(grey(image), colour(image.expand(1, 3, 32, 32)), rtol=1e-4, atol=1e-4)


def test_torchvision_classifiers_answer_in_training_with_logits() -> None:
    model = models.create("torchvision:googlenet", num_classes=7)
    assert model.training
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_torchvision_segmentation_takes_grey_images_and_downloads_no_backbone() -> None:
    model = models.create("torchvision:lraspp_mobilenet_v3_large", num_classes=4, in_channels=1).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 1, 32, 32))["out"].shape == (1, 4, 32, 32)


def test_torchvision_options_that_a_class_reads_from_its_keyword_arguments() -> None:
    model = models.create("torchvision:mobilenet_v3_small", num_classes=7, reduced_tail=True, dropout=0.5)
    full = models.create("torchvision:mobilenet_v3_small", num_classes=7)
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in full.parameters())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"name": "timm:resnett18"}, "unknown timm model 'resnett18'; did you mean 'resnet18'"),
        (
            {"name": "timm:test_resnet", "drop_rat": 1},
            "unknown timm:test_resnet option 'drop_rat'; did you mean 'drop_rate'",
        ),
        ({"name": "timm:test_vit", "img_size": "a"}, "model 'timm:test_vit' could not be built: TypeError: "),
        ({"name": "torchvision:resnett18"}, "unknown torchvision model 'resnett18'; did you mean 'resnet18'"),
        ({"name": "torchvision:resnet18", "foo": 1}, "unknown torchvision:resnet18 option 'foo'. Valid: groups"),
        ({"name": "torchvision:mobilenet_v3_small", "foo": 1}, "unknown torchvision:mobilenet_v3_small option 'foo'"),
        ({"name": "torchvision:resnet18", "pretrained": True}, "'num_classes' expected value 1000 but got 10 instead"),
        ({"name": "torchvision:r3d_18", "in_channels": 1}, "'torchvision:r3d_18' takes 3 channels, got in_channels=1"),
        (
            {"name": "torchvision:ssdlite320_mobilenet_v3_large", "in_channels": 1},
            "takes 3 channels, got in_channels=1",
        ),
        ({"name": "torchvision:raft_small"}, "'torchvision:raft_small' takes no num_classes"),
    ],
)
def test_mistakes(arguments: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        models.create(**{"num_classes": 10, **arguments})
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    # Thousands of names help nobody.
    assert len(str(caught.value)) < 1000
