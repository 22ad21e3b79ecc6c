"""The zoo: counts of the knowledge-distillation benchmark, and values against torchvision's independent code."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models as reference
from torchvision.models import mobilenetv2, shufflenetv2
from torchvision.models import vgg as reference_vgg

from limbeck import models
from limbeck.models.mobilenet import InvertedResidual
from limbeck.models.shufflenet import DownUnit, GroupedUnit, SplitUnit
from limbeck.models.wide_resnet import PreactivationBlock
from limbeck.models.zoo import ZOO

# name: (parameters, multiply-adds in millions) at 100 classes and 3x32x32
BENCHMARK = {
    "resnet8": (83_892, 12.5),
    "resnet14": (181_108, 26.7),
    "resnet20": (278_324, 40.8),
    "resnet32": (472_756, 69.1),
    "resnet44": (667_188, 97.4),
    "resnet56": (861_620, 125.8),
    "resnet110": (1_736_564, 253.2),
    "resnet8x4": (1_233_540, 177.1),
    "resnet32x4": (7_433_860, 1083.0),
    "wrn_16_1": (180_916, 26.7),
    "wrn_16_2": (703_284, 101.1),
    "wrn_40_1": (569_780, 83.3),
    "wrn_40_2": (2_255_156, 327.6),
    "vgg8": (3_965_028, 96.2),
    "vgg11": (9_277_284, 209.4),
    "vgg13": (9_462_180, 284.9),
    "vgg16": (14_774_436, 398.2),
    "mobilenetv2": (812_836, 6.5),
    "shufflenetv1": (949_258, 38.7),
    "shufflenetv2": (1_355_528, 44.5),
    "resnet18": (11_220_132, 555.5),
    "resnet50": (23_705_252, 1298.0),
}
FAMILIES = ("resnet8", "resnet8x4", "wrn_16_1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2", "resnet18")


def multiply_adds(model: nn.Module, images: Tensor) -> int:
    counts: list[int] = []

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(output.numel() * module.weight[0].numel())

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(images)
    return sum(counts)


def randomized(model: nn.Module) -> nn.Module:
    """Give batch norms weights and statistics of their own, so that a swapped or forgotten one changes the output."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(0, 0.1)
    return model.eval()


def copied(source: nn.Module, target: nn.Module) -> nn.Module:
    """Copy by position the tensors of a module that registers the same layers in the same order."""
    names, values = target.state_dict().keys(), source.state_dict().values()
    target.load_state_dict(dict(zip(names, values, strict=True)))
    return target.eval()


def test_names_are_the_benchmarks() -> None:
    assert {*ZOO} == set(BENCHMARK) <= {*models.names()}


@pytest.mark.parametrize("name", BENCHMARK)
def test_parameters_and_multiply_adds_equal_the_benchmark(name: str) -> None:
    model = models.create(name, num_classes=100)
    parameters, millions = BENCHMARK[name]
    assert sum(p.numel() for p in model.parameters()) == parameters
    # The table's figures are rounded to .1.
    assert multiply_adds(model, torch.zeros(1, 3, 32, 32)) / 1e6 == pytest.approx(millions, abs=0.0501)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("classes", "channels", "size"), [(10, 1, (28, 28)), (1, 3, (64, 64)), (7, 4, (32, 32)), (5, 3, (40, 33))]
)
def test_any_classes_channels_and_size(name: str, classes: int, channels: int, size: tuple[int, int]) -> None:
    model = models.create(name, num_classes=classes, in_channels=channels).eval()
    with torch.no_grad():
        assert model(torch.randn(1, channels, *size)).shape == (1, classes)


@pytest.mark.parametrize("name", FAMILIES)
def test_seed_decides_the_weights(name: str) -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.detach().flatten() for p in models.create(name, num_classes=3).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("name", FAMILIES)
def test_channels_last_compile_and_bf16_give_the_same_logits(name: str) -> None:
    torch.manual_seed(0)
    model, images = randomized(models.create(name, num_classes=10)), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits = model(images)
        # The eager backend traces without compiling: any graph break is an error, and no compiler is needed.
        traced = torch.compile(model, backend="eager", fullgraph=True)(images)
        torch.testing.assert_close(traced, logits)
        last = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, logits, rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(images)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), logits, rtol=0.1, atol=0.1 * float(logits.abs().max()))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = models.create(name, num_classes=10)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


def test_first_weights_are_kaiming_fan_out_and_identity_norms() -> None:
    torch.manual_seed(0)
    model = models.create("vgg11", num_classes=10)
    convolution, norm = model.block4[0], model.block4[1]
    assert float(convolution.weight.detach().std()) == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert not convolution.bias.any()
    assert (norm.weight == 1).all()
    assert not norm.bias.any()


@pytest.mark.parametrize(("name", "first", "features"), [("resnet8", 8, 32), ("resnet8x4", 16, 128)])
def test_half_width(name: str, first: int, features: int) -> None:
    model = models.create(name, num_classes=10, width=0.5)
    assert (model.conv1.out_channels, model.fc.in_features) == (first, features)


def test_double_width_and_a_width_too_small_for_one_channel() -> None:
    assert models.create("resnet8", num_classes=10, width=2).fc.in_features == 128
    assert models.create("resnet8", num_classes=10, width=0.01).conv1.out_channels == 1
    assert models.create("mobilenetv2", num_classes=10, width=1.0).conv1[0].out_channels == 32


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model, images = models.create("wrn_16_1", num_classes=10, dropout=0.5), torch.randn(4, 3, 32, 32)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_four_stage_resnets_equal_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(reference, name)(num_classes=10)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    ours = copied(randomized(theirs), models.create(name, num_classes=10))
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_vgg_equals_torchvisions_layers() -> None:
    torch.manual_seed(0)
    layout = [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, 512, 512]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    theirs = randomized(nn.Sequential(reference_vgg.make_layers(layout, batch_norm=True), pool))
    ours, images = copied(theirs, models.create("vgg13", num_classes=10)), torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "stride"), [(8, 1), (12, 1), (12, 2)])
def test_inverted_residual_equals_torchvisions(channels: int, stride: int) -> None:
    torch.manual_seed(0)
    theirs = randomized(mobilenetv2.InvertedResidual(8, channels, stride, 6))
    ours = copied(theirs, InvertedResidual(8, channels, stride=stride, expansion=6))
    # Values this small never reach the 6 at which torchvision's activation saturates.
    images = torch.randn(2, 8, 7, 7)
    torch.testing.assert_close(ours(images), theirs(images))


def test_shufflenetv2_units_equal_torchvisions() -> None:
    torch.manual_seed(0)
    split, down = (
        randomized(shufflenetv2.InvertedResidual(16, 16, 1)),
        randomized(shufflenetv2.InvertedResidual(16, 32, 2)),
    )
    images = torch.randn(2, 16, 7, 7)
    torch.testing.assert_close(copied(split, SplitUnit(16))(images), split(images))
    torch.testing.assert_close(copied(down, DownUnit(16, 32))(images), down(images))


@pytest.mark.parametrize(("channels", "stride"), [(12, 1), (24, 2)])
def test_shufflenetv1_unit_follows_its_figure(channels: int, stride: int) -> None:
    torch.manual_seed(0)
    unit = randomized(GroupedUnit(12, channels, stride=stride, groups=3, first_groups=3))
    images = torch.randn(2, 12, 8, 8)
    y = F.relu(unit.bn1(F.conv2d(images, unit.conv1.weight, groups=3)))
    # Shuffling 3 groups of one channel each is the identity: channel k of group g goes to k * groups + g.
    assert y.shape[1] == 3
    y = F.relu(unit.bn2(F.conv2d(y, unit.conv2.weight, stride=stride, padding=1, groups=3)))
    y = unit.bn3(F.conv2d(y, unit.conv3.weight, groups=3))
    expected = y + images if stride == 1 else torch.cat([y, F.avg_pool2d(images, 3, 2, 1)], dim=1)
    torch.testing.assert_close(unit(images), F.relu(expected))


def test_shufflenetv1_shuffles_between_its_convolutions() -> None:
    unit, seen = GroupedUnit(24, 24, stride=1, groups=3, first_groups=3).eval(), []
    unit.shuffle.register_forward_hook(lambda _module, inputs, output: seen.extend((inputs[0], output)))
    unit(torch.randn(1, 24, 4, 4))
    assert torch.equal(seen[1], seen[0][:, [0, 2, 4, 1, 3, 5]])


@pytest.mark.parametrize(("channels", "stride"), [(8, 1), (12, 1), (12, 2)])
def test_preactivation_block_follows_its_figure(channels: int, stride: int) -> None:
    torch.manual_seed(0)
    block, images = randomized(PreactivationBlock(8, channels, stride=stride)), torch.randn(2, 8, 6, 6)
    active = F.relu(block.bn1(images))
    inner = F.relu(block.bn2(F.conv2d(active, block.conv1.weight, stride=stride, padding=1)))
    skip = images if channels == 8 else F.conv2d(active, block.shortcut.weight, stride=stride)
    torch.testing.assert_close(block(images), skip + F.conv2d(inner, block.conv2.weight, padding=1))
