"""Features by hooks: of the network that runs, however it is wrapped; nothing is left on it; dicts and tuples."""

import copy
import gc
import pickle
from dataclasses import dataclass
from threading import Barrier, Thread

import pytest
import torch
from torch import distributed, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from limbeck import models
from limbeck.errors import UserError
from limbeck.models import FeatureExtractor, feature_layers, stage_layers
from limbeck.models.calling import call_network as call
from limbeck.models.features import probe

LAYERS = ["layer1", "layer2.0.bn2", "layer3"]


def resnet(seed=0):
    torch.manual_seed(seed)
    return models.create("resnet8", num_classes=5, width=0.5)


def images(seed=1):
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def expected(network, inputs, layers=LAYERS):
    """The same features by hooks of the test's own, on a copy."""
    network, seen = copy.deepcopy(network), {}
    for layer in layers:
        keep = lambda module, args, output, layer=layer: seen.__setitem__(layer, output.clone())  # noqa: E731
        network.get_submodule(layer).register_forward_hook(keep)
    output = network(inputs)
    return [output, *(seen[layer] for layer in layers)]


def check(extractor, network, seed=1, layers=LAYERS):
    reference = expected(network, images(seed), layers)
    output, features = extractor(images(seed))
    torch.testing.assert_close([output, *features], reference)


def hooks(network):
    return sum(len(module._forward_hooks) for module in network.modules())


def test_the_networks_own_hooks_fire_and_change_its_output():
    network, calls = resnet().eval(), []
    network.layer2.register_forward_hook(lambda *_: calls.append("layer2"))
    network.layer2[0].register_forward_pre_hook(lambda *_: calls.append("before"))
    network.layer1.register_forward_hook(lambda module, args, output: output + 1)
    network.register_forward_hook(lambda *_: calls.append("network"))
    plain = network(images())
    assert calls == ["before", "layer2", "network"]
    output, (feature,) = FeatureExtractor(network, ["layer1"])(images())
    assert calls == 2 * ["before", "layer2", "network"]
    assert torch.equal(output, plain)
    assert torch.equal(feature, network.layer1(network[:3](images())))
    assert feature.min() >= 1


@pytest.mark.parametrize("raising", [False, True])
def test_nothing_is_kept_between_calls_and_no_hook_after_the_last(raising):
    network = resnet()
    extractor = FeatureExtractor(network, LAYERS)
    if raising:
        with pytest.raises(RuntimeError):
            extractor(images()[:, :2])
        with pytest.raises(RuntimeError):
            extractor(images().double())
    extractor(images())
    assert extractor._recorder._recordings == {}
    network(images())
    assert extractor._recorder._recordings == {}
    assert hooks(network) == len(LAYERS)
    del extractor
    gc.collect()
    assert hooks(network) == 0


def test_a_wrong_layer_leaves_no_hooks():
    network = resnet()
    for layers in (["layer1", "nowhere"], ["layer1", "layer1.0.nowhere"]):
        with pytest.raises(UserError, match="unknown layer"):
            FeatureExtractor(network, layers)
    stage_layers(network, images())
    gc.collect()
    assert hooks(network) == 0


def test_extractors_of_one_network_are_independent():
    network = resnet().eval()
    first, second = FeatureExtractor(network, ["layer1"]), FeatureExtractor(network, LAYERS)
    check(first, network, layers=["layer1"])
    check(second, network)
    del second
    check(first, network, layers=["layer1"])
    assert hooks(network) == 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])
def test_hooks_are_copied_once_and_work_where_they_are(copied):
    extractor = FeatureExtractor(resnet().eval(), LAYERS)
    for _ in range(3):
        previous, extractor = extractor, copied(extractor)
        assert hooks(extractor.network) == len(LAYERS)
    check(extractor, resnet().eval())
    check(previous, resnet().eval())
    network = copied(extractor.network)
    del extractor, previous
    check(FeatureExtractor(network, LAYERS), resnet().eval())


def test_every_thread_gets_its_own_features():
    network = resnet().eval()
    extractor, meeting, found = FeatureExtractor(network, ["layer1", "layer3"]), Barrier(2, timeout=60), {}

    def wait(*_):
        meeting.wait()

    network.layer2.register_forward_hook(wait)

    def work(seed):
        found[seed] = extractor(images(seed))[1]

    threads = [Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (1, 2):
        torch.testing.assert_close(found[seed], expected(resnet().eval(), images(seed), ["layer1", "layer3"])[1:])
    assert extractor._recorder._recordings == {}


def test_inference_mode_and_a_layer_that_is_overwritten():
    network = resnet().eval()
    with torch.inference_mode():
        _, (before,) = FeatureExtractor(network, ["layer1.0.bn1"])(images())
    assert (before < 0).any()
    torch.testing.assert_close(before, network.layer1[0].bn1(network.layer1[0].conv1(network[:3](images()))))


def test_layers_inside_of_an_activation_checkpoint():
    class Saving(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.stem, self.body = network[:3], network[3:]

        def forward(self, x):
            return checkpoint(self.body, self.stem(x), use_reentrant=False)

    gradients = []
    for network in (Saving(resnet()), nn.ModuleDict({"stem": resnet()[:3], "body": resnet()[3:]})):
        sequence = nn.Sequential(network["stem"], network["body"]) if isinstance(network, nn.ModuleDict) else network
        name = "1.layer1" if isinstance(network, nn.ModuleDict) else "body.layer1"
        output, (feature,) = FeatureExtractor(sequence, [name])(images())
        (output.square().mean() + feature.square().mean()).backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    torch.testing.assert_close(*gradients)


def compiled_beside(network):
    return torch.compile(network, backend="eager")


def compiled_in_place(network):
    network.compile(backend="eager")
    return network


def compiled_in_part(network):
    network.layer2 = torch.compile(network.layer2, backend="eager")
    network.layer3.compile(backend="eager")
    return network


@pytest.mark.parametrize("was_run", [False, True])
@pytest.mark.parametrize("compiled", [compiled_beside, compiled_in_place, compiled_in_part])
def test_a_compiled_networks_features_and_gradients(compiled, was_run):
    plain, network = resnet(), compiled(resnet())
    if was_run:
        network(images(2)), plain(images(2))
    extractor = FeatureExtractor(network, LAYERS)
    assert feature_layers(network) == feature_layers(plain)
    for _ in range(2):
        # In between it runs for itself, as in a measurement.
        with torch.no_grad():
            network.eval()(images())
        reference = expected(plain, images())
        output, features = extractor.train()(images())
        torch.testing.assert_close([output, *features], reference)
        plain(images())
    network.zero_grad(), plain.zero_grad()
    output, features = extractor(images())
    torch.stack([tensor.square().mean() for tensor in (output, *features)]).sum().backward()
    output, features = FeatureExtractor(plain, LAYERS)(images())
    torch.stack([tensor.square().mean() for tensor in (output, *features)]).sum().backward()
    for found, parameter in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found.grad, parameter.grad)


def test_a_compiled_network_runs_its_graph_and_not_its_python():
    class Traced(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.runs = nn.Linear(4, 4), []

        def forward(self, x):
            if not torch.compiler.is_compiling():
                self.runs.append(len(x))
            return self.body(x)

    network = Traced()
    extractor = FeatureExtractor(torch.compile(network, backend="aot_eager", fullgraph=True), ["body"])
    assert probe(extractor, torch.ones(2, 4)) == [(4,)]
    assert network.runs == [2]
    for _ in range(3):
        output, (feature,) = extractor(torch.ones(3, 4))
        torch.testing.assert_close(feature, output)
    assert network.runs == [2]


def test_code_that_was_compiled_for_an_equal_network_without_hooks_is_an_error():
    compiled_in_place(resnet().eval())(images())
    network = resnet().eval()
    extractor = FeatureExtractor(network, LAYERS)
    compiled_in_place(network)
    # Which layer is named depends on what a version of torch compiles anew.
    with pytest.raises(UserError, match=r"is not run by .* or torch.compiler.reset\(\) before its first run"):
        extractor(images())
    torch.compiler.reset()
    check(extractor, resnet().eval())


@pytest.fixture
def process_group(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def in_ddp(network):
    return nn.parallel.DistributedDataParallel(network)


def sharded(network):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (1,))
    for name in ("layer1", "layer2", "layer3"):
        fully_shard(network.get_submodule(name), mesh=mesh)
    return fully_shard(network, mesh=mesh)


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("wrapped", [in_ddp, sharded, lambda network: in_ddp(compiled_beside(network))])
def test_a_distributed_networks_features_and_gradients(wrapped, is_first):
    plain, network = resnet(), resnet()
    # fully_shard changes a network that may have its extractor already.
    extractor = None if is_first else FeatureExtractor(network, LAYERS)
    whole = wrapped(network)
    if extractor is None:
        extractor = FeatureExtractor(whole, LAYERS)
        assert feature_layers(whole) == feature_layers(plain)
    else:
        extractor.network = whole
    output, features = extractor(images())
    reference = expected(plain, images())
    torch.testing.assert_close([output, *features], reference)
    sum(tensor.square().mean() for tensor in (output, *features)).backward()
    output, features = FeatureExtractor(plain, LAYERS)(images())
    sum(tensor.square().mean() for tensor in (output, *features)).backward()
    for found, parameter in zip(whole.parameters(), plain.parameters(), strict=True):
        gradient = found.grad.full_tensor() if hasattr(found.grad, "full_tensor") else found.grad
        torch.testing.assert_close(gradient, parameter.grad)


@pytest.mark.usefixtures("process_group")
def test_a_sharded_networks_stages_are_those_of_the_network():
    assert stage_layers(sharded(resnet()), images()) == ["layer1", "layer2", "layer3"]
    assert probe(FeatureExtractor(sharded(resnet()), ["layer2"]), images()) == [(16, 8, 8)]


@dataclass
class BodyOutput:
    pooled: torch.Tensor
    last_hidden_state: torch.Tensor


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8)

    def forward(self, input_ids=None, attention_mask=None):
        return {"mask": None, "states": self.words(input_ids), "attention_mask": attention_mask.float()}


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(8, 8)

    def forward(self, states, mask):
        return F.gelu(self.dense(states)) * mask[..., None], None


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.blocks = Embedding(), nn.ModuleList([Block(), Block()])

    def forward(self, input_ids, attention_mask):
        parts = self.embedding(input_ids=input_ids, attention_mask=attention_mask)
        states = parts["states"]
        for block in self.blocks:
            states = block(states, parts["attention_mask"])[0]
        return BodyOutput(last_hidden_state=states, pooled=states[:, 0])


class Classifier(nn.Module):
    """Takes a mapping and returns one, as the networks of Hugging Face do."""

    def __init__(self):
        super().__init__()
        self.body, self.classifier = Body(), nn.Linear(8, 3)

    def forward(self, *, input_ids, attention_mask):
        if attention_mask.sum() == 0:
            raise ValueError("nothing to attend to")
        body = self.body(input_ids, attention_mask)
        return {"logits": self.classifier(body.pooled), "body": body}


def tokens():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(20, (2, 5), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])}


def test_mappings_of_inputs_and_of_outputs():
    torch.manual_seed(0)
    network = Classifier()
    assert feature_layers(network)[:3] == ["body", "classifier", "body.embedding"]
    extractor = FeatureExtractor(network, ["body.blocks.0", "body", "body.embedding.words"])
    output, (block, pooled, words) = call(extractor, tokens())
    assert set(output) == {"logits", "body"}
    body = network.body
    mask = tokens()["attention_mask"][..., None]
    assert torch.equal(words, body.embedding.words(tokens()["input_ids"]))
    assert torch.equal(block, F.gelu(body.blocks[0].dense(words)) * mask)
    assert pooled is output["body"].pooled
    assert probe(extractor, tokens()) == [(5, 8), (8,), (5, 8)]
    assert stage_layers(network, tokens()) == ["body.embedding"]
    with pytest.raises(UserError, match="example: Classifier cannot take it .nothing to attend to"):
        probe(extractor, {name: torch.zeros_like(part) for name, part in tokens().items()})


def test_a_network_of_transformers():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    network = transformers.BertForSequenceClassification(config).eval()
    extractor = FeatureExtractor(network, ["bert.encoder.layer.0", "bert.encoder.layer.1"])
    output, features = call(extractor, tokens())
    states = network(**tokens(), output_hidden_states=True).hidden_states
    torch.testing.assert_close(features, list(states[1:]))
    assert output.logits.shape == (2, 2)
