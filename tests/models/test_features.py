"""Extracting features: the network's own numbers, whatever is done to the network, and clear errors."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from limbeck import models
from limbeck.errors import UserError
from limbeck.models import FeatureExtractor, feature_layers, stage_layers
from limbeck.models.features import probe
from limbeck.models.recording import Kept
from limbeck.models.tracing import traced

STAGES = {
    "resnet8": ["layer1", "layer2", "layer3"],
    "resnet18": ["layer1", "layer2", "layer3", "layer4"],
    "wrn_16_1": ["block1", "block2", "block3"],
    "vgg8": ["block0", "block1", "block2", "block4"],
    "mobilenetv2": ["blocks.1", "blocks.2", "blocks.4", "conv2"],
    "shufflenetv1": ["layer1", "layer2", "layer3"],
    "shufflenetv2": ["layer1", "layer2", "layer3"],
    "torchvision:resnet18": ["layer1", "layer2", "layer3", "layer4"],
    "timm:vit_tiny_patch16_224": ["blocks"],
}


def resnet(seed=0):
    torch.manual_seed(seed)
    return models.create("resnet8", num_classes=5, width=0.5)


def images(n=3, size=16):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def hooked(network, layers, inputs):
    """The features by hooks, which copy what they see."""
    seen, handles = {}, []
    for layer in layers:
        keep = lambda module, args, output, layer=layer: seen.__setitem__(layer, output.clone())  # noqa: E731
        handles.append(network.get_submodule(layer).register_forward_hook(keep))
    logits = network(inputs)
    for handle in handles:
        handle.remove()
    return logits, [seen[layer] for layer in layers]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", STAGES)
def test_logits_and_features_are_the_networks_own(name, training):
    options, size = ({"img_size": 64, "depth": 2}, 64) if name.startswith("timm") else ({}, 32)
    network = models.create(name, num_classes=5, **options).train(training)
    inputs = images(size=size)
    layers = stage_layers(network, inputs)
    assert layers == STAGES[name]
    twin = copy.deepcopy(network)
    torch.manual_seed(3)
    logits, features = FeatureExtractor(network, layers)(inputs)
    torch.manual_seed(3)
    expected_logits, expected = hooked(twin, layers, inputs)
    assert torch.equal(logits, expected_logits)
    assert all(torch.equal(one, other) for one, other in zip(features, expected, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(network.buffers(), twin.buffers(), strict=True))


ZOO = ["resnet8", "wrn_16_1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2"]


@pytest.mark.parametrize("name", ZOO)
def test_every_feature_is_the_output_at_a_hook_also_where_it_is_overwritten(name):
    network, inputs = models.create(name, num_classes=5).eval(), images(2, 32)
    layers = feature_layers(network)
    with torch.no_grad():
        _, features = FeatureExtractor(network, layers)(inputs)
        _, expected = hooked(network, layers, inputs)
    for layer, one, other in zip(layers, features, expected, strict=True):
        assert torch.equal(one, other), layer


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ZOO)
def test_hooks_and_the_traced_graph_agree(name, training):
    """The graph is another way to the same numbers: values, and gradients through values that are overwritten."""
    network, inputs = models.create(name, num_classes=5).train(training), images(3, 32)
    layers = feature_layers(network)
    found = []
    for run in (FeatureExtractor(network, layers), traced(network, layers, training=training)):
        network.zero_grad()
        twin = copy.deepcopy(network.state_dict())
        output, features = run(inputs)
        features = [feature.value() if isinstance(feature, Kept) else feature for feature in features]
        torch.stack([tensor.square().mean() for tensor in (output, *features)]).sum().backward()
        found.append([output, *features, *(parameter.grad for parameter in network.parameters()), *network.buffers()])
        found[-1] = [tensor.detach().clone() for tensor in found[-1]]
        network.load_state_dict(twin)
    assert all(torch.equal(hooked, graphed) for hooked, graphed in zip(*found, strict=True))


class Overwriting(nn.Module):
    """Writes over what its layers gave, in every way there is."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(9))
        self.relu, self.dropout, self.same = nn.ReLU(inplace=True), nn.Dropout(), nn.Identity()

    def forward(self, x):
        a, b, c, d, e, f, g, h, i = (layer(x) for layer in self.layers)
        d += 1
        b.clamp_(0)
        torch.relu_(c)
        f *= 5
        self.dropout(self.same(g)).mul_(2)
        h.view(-1).zero_()
        return self.relu(a) + b + c + d + F.relu(e, True) + f + g + h + F.leaky_relu(i, inplace=True)


def test_a_feature_is_kept_however_it_is_overwritten():
    network, x = Overwriting().eval(), torch.randn(3, 4)
    layers = [f"layers.{number}" for number in range(9)]
    with torch.no_grad():
        logits, features = FeatureExtractor(network, layers)(x)
        assert torch.equal(logits, network(x))
        for layer, feature in zip(network.layers, features, strict=True):
            assert torch.equal(feature, layer(x))


def test_features_carry_the_gradient():
    network = resnet()
    _, (feature,) = FeatureExtractor(network, ["layer2"])(images())
    feature.square().sum().backward()
    assert network.layer1[0].conv1.weight.grad.any()
    assert network.fc.weight.grad is None


def test_train_and_eval_follow_the_network():
    network = nn.Sequential(nn.Linear(4, 50), nn.Dropout(), nn.BatchNorm1d(50), nn.Linear(50, 2))
    extractor, x = FeatureExtractor(network, ["1"]), torch.randn(8, 4)
    assert (extractor(x)[1][0] == 0).any()
    network.eval()
    assert not (extractor(x)[1][0] == 0).any()
    before = network[2].running_mean.clone()
    extractor(x)
    assert torch.equal(network[2].running_mean, before)
    network.train()
    extractor(x)
    assert not torch.equal(network[2].running_mean, before)


def test_functional_dropout_follows_too():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(4, 50), nn.Linear(50, 2)

        def forward(self, x):
            return self.head(F.dropout(self.body(x), 0.5, self.training))

    network, x = Net(), torch.randn(8, 4)
    extractor = FeatureExtractor(network, ["body"])
    assert not torch.equal(extractor(x)[0], extractor(x)[0])
    network.eval()
    assert torch.equal(extractor(x)[0], extractor(x)[0])


def test_modes_of_single_modules_are_left_alone():
    network = resnet().train()
    network.bn1.eval()
    extractor = FeatureExtractor(network, ["layer1"])
    probe(extractor, images())
    assert network.training
    assert not network.bn1.training
    before = network.bn1.running_mean.clone()
    extractor(images())
    assert torch.equal(network.bn1.running_mean, before)


def test_parameters_and_buffers_are_shared_whatever_happens_to_them():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
            self.register_buffer("shift", torch.ones(4))
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return self.head(self.body(x) * self.scale + self.shift)

    network = Shifted()
    extractor, x = FeatureExtractor(network, ["body"]), torch.randn(3, 4)
    assert {id(p) for p in extractor.parameters()} == {id(p) for p in network.parameters()}
    network.double()
    assert extractor(x.double())[0].dtype == torch.float64
    network.shift = network.shift + 1
    network.scale = nn.Parameter(3 * network.scale.detach())
    network.load_state_dict({name: value + 1 for name, value in network.state_dict().items()})
    network.head = nn.Linear(4, 7).double()
    assert torch.equal(extractor(x.double())[0], network(x.double()))


def test_tensors_made_in_a_traced_forward_pass():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.body(x) * torch.tensor([0.0, 1.0, 1.0, 1.0 if self.training else 2.0]))

    network = Masked()
    extractor, x = FeatureExtractor(network, ["mul"]), torch.randn(3, 4)
    assert torch.equal(extractor(x)[0], network(x))
    network.eval()
    assert torch.equal(extractor(x)[0], network(x))
    network.double()
    output, (masked,) = extractor(x.double())
    assert torch.equal(output, network(x.double()))
    assert torch.equal(masked[:, 3], 2 * network.body(x.double())[:, 3])
    assert set(extractor.state_dict()) == {f"network.{name}" for name in network.state_dict()}


@pytest.mark.parametrize("layers", [["layer1", "layer3"], ["layer1", "layer2.0.bn2", "layer3.0.add"]])
def test_compiles_as_one_graph(layers):
    extractor = FeatureExtractor(resnet().eval(), layers)
    compiled = torch.compile(extractor, fullgraph=True, backend="aot_eager")
    for one, other in zip(compiled(images())[1], extractor(images())[1], strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("layers", [["layer1", "layer2.0.bn2"], ["layer1", "layer2.0.add"]])
def test_copies_and_pickles(layers):
    extractor = FeatureExtractor(resnet(), layers)
    for other in (copy.deepcopy(extractor), pickle.loads(pickle.dumps(extractor))):
        assert other.network is not extractor.network
        assert {id(p) for p in other.parameters()}.isdisjoint(id(p) for p in extractor.parameters())
        extractor.network.train(), other.network.train()
        for one, two in zip(extractor(images())[1], other(images())[1], strict=True):
            assert torch.equal(one, two)
        with torch.no_grad():
            other.network.conv1.weight.zero_()
        assert extractor.network.conv1.weight.any()


def test_channels_last_is_kept():
    network = resnet().to(memory_format=torch.channels_last)
    _, features = FeatureExtractor(network, ["layer1", "layer2"])(images().to(memory_format=torch.channels_last))
    assert all(feature.is_contiguous(memory_format=torch.channels_last) for feature in features)


def test_layers_are_listed_from_the_top():
    layers = feature_layers(resnet())
    assert layers[:3] == ["layer1", "layer2", "layer3"]
    assert layers.index("fc") < layers.index("layer1.0") < layers.index("layer1.0.conv1")
    assert len(set(layers)) == len(layers)


def test_single_operations_can_be_named_too():
    _, (before, after) = FeatureExtractor(resnet(), ["layer1.0.add", "layer1.0"])(images())
    assert (before < 0).any()
    assert torch.equal(before.relu(), after)


def test_the_last_call_of_a_module_counts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(4, 4)

        def forward(self, x):
            return self.body(self.body(x)).sum(1, keepdim=True)

    network, x = Twice(), torch.randn(3, 4)
    assert torch.equal(FeatureExtractor(network, ["body"])(x)[1][0], network.body(network.body(x)))


def test_further_arguments_keep_their_defaults():
    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(4, 2)

        def forward(self, x, mask=None, *, double=False):
            x = self.body(x)
            if mask is not None:
                x = x * mask
            return 2 * x if double else x

    network, x = Optional(), torch.randn(3, 4)
    for layers in (["body"], ["body", "mul"]):
        if "mul" in layers:
            # The branch that is not taken has no operations.
            with pytest.raises(UserError, match="unknown layer 'mul' of Optional"):
                FeatureExtractor(network, layers)
        else:
            assert torch.equal(FeatureExtractor(network, layers)(x)[0], network(x))


def test_a_probe_changes_nothing():
    network = nn.Sequential(resnet().train(), nn.Dropout())
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert probe(FeatureExtractor(network, ["0.layer2", "0.flatten"]), images()) == [(16, 8, 8), (32,)]
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())


def test_a_network_with_control_flow_by_its_input_has_features():
    network, x = Branching(), torch.ones(2, 4)
    assert feature_layers(network) == ["body"]
    output, (feature,) = FeatureExtractor(network, ["body"])(x)
    assert feature is output


def test_a_network_without_maps_has_no_stages():
    assert stage_layers(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(2, 4)) == []


def test_a_flat_row_of_layers_has_stages_by_size():
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1)]
    network = nn.Sequential(*layers, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    assert stage_layers(network, images()) == ["1", "4"]


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 4)

    def forward(self, x):
        return self.body(x) if x.sum() > 0 else x


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.count, self.name = Count(), Name()
        self.unused = nn.Linear(4, 4)

    def forward(self, x):
        self.name(x)
        return x * self.count(x)


class Count(nn.Module):
    def forward(self, x):
        return torch.tensor(len(x))


class Name(nn.Module):
    def forward(self, x):
        return str(x.dtype)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: FeatureExtractor(resnet(), ["layer4"]),
            "unknown layer 'layer4' of Sequential; did you mean 'layer3' or 'layer2' or 'layer1'? Valid: layer1, ",
        ),
        (lambda: FeatureExtractor(nn.Sequential(nn.ReLU()), ["head"]), "unknown layer 'head' of Sequential. Valid: 0"),
        (lambda: FeatureExtractor(resnet(), []), "layers: got [], expected a list of at least one layer's name"),
        (lambda: FeatureExtractor(resnet(), "layer1"), "layers: got 'layer1', expected a list of at least one"),
        (
            lambda: FeatureExtractor(Branching(), ["bdy"]),
            "unknown layer 'bdy' of Branching; did you mean 'body'? Valid: body, or an operation, but Branching: ",
        ),
        (
            lambda: FeatureExtractor(Counting(), ["unused"])(torch.ones(2, 4)),
            "layer 'unused': is not run by Counting's",
        ),
        (
            lambda: FeatureExtractor(Counting(), ["name"])(torch.ones(2, 4)),
            "layer 'name': returns str, expected a tensor",
        ),
        (lambda: probe(FeatureExtractor(resnet(), ["fc"]), torch.zeros(2, 4)), "example: Sequential cannot take it ("),
        (
            lambda: probe(FeatureExtractor(Counting(), ["count"]), torch.zeros(2, 4)),
            "layer 'count': returns () torch.int64",
        ),
        (lambda: probe(FeatureExtractor(Counting(), ["unused"]), torch.zeros(2, 4)), "layer 'unused': is not run by"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
