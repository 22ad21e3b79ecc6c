"""Models of timm and torchvision."""

import os
import pickle
from pathlib import Path
from typing import Any

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


def test_gray_image_counts_as_its_three_equal_channels() -> None:
    torch.manual_seed(0)
    color = models.create("torchvision:resnet18", num_classes=7).eval()
    torch.manual_seed(0)
    gray = models.create("torchvision:resnet18", num_classes=7, in_channels=1).eval()
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(gray(image), color(image.expand(1, 3, 32, 32)), rtol=1e-4, atol=1e-4)


def test_torchvision_classifiers_return_logits_in_training() -> None:
    model = models.create("torchvision:googlenet", num_classes=7)
    assert model.training
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_torchvision_segmentation_takes_gray_images_and_downloads_no_backbone() -> None:
    model = models.create("torchvision:lraspp_mobilenet_v3_large", num_classes=4, in_channels=1).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 1, 32, 32))["out"].shape == (1, 4, 4, 4)


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
        (
            {"name": "torchvision:resnet18", "weights": "IMAGENET1K_V3"},
            "unknown weights of torchvision:resnet18 'IMAGENET1K_V3'; did you mean 'IMAGENET1K_V1'? Valid: DEFAULT",
        ),
        (
            {"name": "torchvision:resnet18", "pretrained": "a/b.pth"},
            "unknown weights of torchvision:resnet18 'a/b.pth'",
        ),
        ({"name": "torchvision:densenet121", "weights": "gone.pth"}, "weights 'gone.pth': no such file"),
        ({"name": "timm:test_resnet", "weights": "a1_in1k"}, "unknown weights of timm:test_resnet 'a1_in1k'"),
        ({"name": "timm:efficientnet_lite1", "pretrained": True}, "unknown weights of timm:efficientnet_lite1 'True'"),
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
    # Thousands of names are no help.
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("timm:test_resnet", {"checkpoint_path": "FILE"}),
        ("timm:test_resnet", {"pretrained_cfg": {"file": "FILE"}, "pretrained": True}),
        ("timm:test_resnet", {"pretrained_cfg_overlay": {"file": "FILE"}, "pretrained": True}),
        ("timm:test_resnet", {"pretrained_cfg_overlay": {"url": "file://FILE"}, "pretrained": True}),
        ("timm:test_resnet", {"pretrained_cfg_overlay": {"hf_hub_id": "local-dir:FILE"}, "pretrained": True}),
        ("timm:test_resnet", {"pretrained_cfg": "hf-hub:x/y", "pretrained": True}),
        ("timm:test_resnet", {"model_name": "local-dir:FILE"}),
        ("timm:test_resnet", {"cache_dir": "FILE", "pretrained": True}),
        ("torchvision:resnet18", {"weights_backbone": "FILE"}),
    ],
)
def test_options_load_no_files(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps(_Runs(tmp_path / "ran")))
    text = repr(options).replace("FILE", str(path))
    with pytest.raises(UserError, match=r"is not accepted|expected keys") as caught:
        models.create(name, num_classes=5, **eval(text))
    assert "expected a file or the name of weights as teacher.weights or student.weights" in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_harmless_configuration_passes() -> None:
    overlay = {"mean": (0.5, 0.5, 0.5), "input_size": (3, 32, 32)}
    model = models.create("timm:test_resnet", num_classes=5, pretrained_cfg_overlay=overlay)
    assert model.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torchvision's downloads are kept."""
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return folder


def downloaded(hub: Path, name: str, member: str) -> dict[str, torch.Tensor]:
    """Put random weights where those of torchvision would be kept, and return them."""
    from torchvision import models as library

    state = library.get_model(name).state_dict()
    torch.save(state, hub / Path(library.get_model_weights(name)[member].url).name)
    return state


@pytest.mark.parametrize("given", [{"weights": "DEFAULT"}, {"weights": "IMAGENET1K_V1"}, {"pretrained": True}])
def test_torchvisions_own_weights_with_a_new_head(hub: Path, given: dict[str, Any]) -> None:
    state, lines = downloaded(hub, "squeezenet1_1", "IMAGENET1K_V1"), []
    model = models.create("torchvision:squeezenet1_1", num_classes=7, log=lines.append, **given)
    assert torch.equal(model.features[0].weight, state["features.0.weight"])
    assert model.classifier[1].weight.shape[0] == 7
    assert len(lines) == 1
    assert "pretrained body: 50 of 52 tensors loaded; 2 new (classifier.1.weight, classifier.1.bias)" in lines[0]


def test_torchvisions_own_weights_as_they_are_and_for_gray_images(hub: Path) -> None:
    state, lines = downloaded(hub, "mobilenet_v3_small", "IMAGENET1K_V1"), []
    whole = models.create("torchvision:mobilenet_v3_small", num_classes=1000, weights="DEFAULT", log=lines.append)
    assert all(torch.equal(value, state[key]) for key, value in whole.state_dict().items())
    assert lines == []
    gray = models.create("torchvision:mobilenet_v3_small", num_classes=3, in_channels=1, weights="DEFAULT")
    torch.testing.assert_close(gray.features[0][0].weight, state["features.0.0.weight"].sum(1, keepdim=True))


def test_torchvisions_weights_of_an_older_naming_and_with_auxiliary_heads(hub: Path) -> None:
    from torchvision import models as library

    state = library.densenet121().state_dict()
    old = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for key, value in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, hub / Path(library.DenseNet121_Weights.DEFAULT.url).name)
    model = models.create("torchvision:densenet121", num_classes=1000, weights="DEFAULT")
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    state = library.googlenet(init_weights=False).state_dict()
    torch.save(state, hub / Path(library.GoogLeNet_Weights.DEFAULT.url).name)
    model = models.create("torchvision:googlenet", num_classes=4, weights="DEFAULT")
    assert torch.equal(model.conv1.conv.weight, state["conv1.conv.weight"])
    assert model.transform_input


def test_what_lies_in_the_hub_runs_no_code(hub: Path, tmp_path: Path) -> None:
    from torchvision import models as library

    torch.save(_Runs(tmp_path / "ran"), hub / Path(library.ResNet18_Weights.DEFAULT.url).name)
    with pytest.raises(UserError, match="cannot be loaded"):
        models.create("torchvision:resnet18", num_classes=5, weights="DEFAULT")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("given", [{"weights": "DEFAULT"}, {"weights": "r160_in1k"}, {"pretrained": True}])
def test_timms_own_weights_with_a_new_head(monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]) -> None:
    import timm

    source, lines = timm.create_model("test_resnet"), []
    for reader in ("load_state_dict_from_hf", "load_state_dict_from_url"):
        monkeypatch.setattr(f"timm.models._builder.{reader}", lambda *_, **__: dict(source.state_dict()))
    model = models.create("timm:test_resnet", num_classes=7, log=lines.append, **given)
    assert torch.equal(model.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    assert lines == ["timm:test_resnet: pretrained body; the classifier is new, for 7 classes"]
    lines.clear()
    whole = models.create("timm:test_resnet", num_classes=1000, log=lines.append, **given)
    assert torch.equal(whole.fc.weight, source.fc.weight)
    assert lines == []
