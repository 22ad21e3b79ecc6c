"""``Distiller`` with methods that compare features."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import limbeck
from feature_distillers import METHODS, made, net
from limbeck.distiller.features import FeaturePairs
from limbeck.errors import UserError
from limbeck.losses import features as losses
from limbeck.methods import Parts, Term, create
from limbeck.models import FeatureExtractor
from limbeck.teachers import EnsembleTeacher, InputAdapter, LightweightBank, LightweightTeacher, LiveTeacher


@pytest.mark.parametrize("method", [*METHODS, "kd+fitnet", "dist+at+crd", "dr_kd+sp", "at+reviewkd+vid"])
def test_the_loss_is_the_sum_of_its_parts_and_trains_everything(method, batch):
    distiller = made(method)
    out = distiller(*batch)
    torch.testing.assert_close(out.loss, torch.stack(list(out.parts.values())).sum())
    # A feature's name is that of its part, and its weight leaves that of the other losses alone.
    assert set(method.split("+")) - {"dr_kd"} <= set(out.parts)
    out.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in distiller.parameters())
    assert out.loss.isfinite()


@pytest.mark.parametrize(
    ("method", "layers", "weight"),
    [
        ("fitnet", [1], 100),
        ("at", [0, 1, 2], 1000),
        ("sp", [2], 3000),
        ("rkd", [2], 1),
        ("pkt", [2], 30000),
        ("vid", [0, 1, 2], 1),
        ("crd", [2], 0.8),
        ("reviewkd", [0, 1, 2], 1),
    ],
)
def test_which_layers_and_weights_are_the_default(method, layers, weight, batch):
    distiller = made(method, student=net().eval()).eval()
    assert distiller.method.ce_weight == 1
    names = [f"layer{number + 1}" for number in layers]
    own = FeatureExtractor(distiller.student, names)(batch[0])[1]
    other = FeatureExtractor(distiller.teacher.network, names)(batch[0])[1]
    torch.manual_seed(2)
    expected = distiller.losses[0](own, other, batch[1], None, batch[2])
    torch.manual_seed(2)
    out = distiller(*batch)
    torch.testing.assert_close(out.parts[method], weight * expected)
    torch.testing.assert_close(out.parts["ce"], F.cross_entropy(distiller.student(batch[0]), batch[1]))


def test_named_layers_are_all_compared(batch):
    distiller = made("sp", student_layers=["layer1", "layer2"], teacher_layers=["layer2", "layer3"])
    distiller.student.eval()
    own = FeatureExtractor(distiller.student, ["layer1", "layer2"])(batch[0])[1]
    other = FeatureExtractor(distiller.teacher.network, ["layer2", "layer3"])(batch[0])[1]
    expected = sum(losses.sp_loss(one, two) for one, two in zip(own, other, strict=True))
    torch.testing.assert_close(distiller(*batch).parts["sp"], 3000 * expected)


def test_named_layers_of_one_network_are_compared_with_the_last_stages_of_the_other():
    distiller = made("at", student_layers=["layer1", "layer3.0.add"])
    assert distiller.feature_pairs.teacher.layers == ("layer2", "layer3")
    other = made("at", teacher=net(1, name="resnet18", width=0.1))
    assert other.feature_pairs.student.layers == ("layer1", "layer2", "layer3")
    assert other.feature_pairs.teacher.layers == ("layer2", "layer3", "layer4")


def test_kd_beside_features_is_kd(batch):
    student, teacher = net().eval(), net(1)
    out = made("kd+fitnet", student, teacher)(*batch)
    plain = limbeck.Distiller(student, teacher, "kd")(*batch)
    for part in ("ce", "kd"):
        torch.testing.assert_close(out.parts[part], plain.parts[part])


def test_a_temperature_in_front_of_the_logits_is_not_in_front_of_features(batch):
    student, teacher = net().eval(), net(1)
    plain, tempered = (made(method, student, teacher, epochs=3)(*batch, epoch=0) for method in ("kd+at", "dts+kd+at"))
    torch.testing.assert_close(tempered.parts["at"], plain.parts["at"])
    assert not torch.isclose(tempered.parts["kd"], plain.parts["kd"])


def test_one_pass_of_each_network(batch):
    student, teacher = net().train(), net(1).train()
    distiller = made("kd+fitnet+at+crd", student, LiveTeacher(teacher, train_mode=True))
    before = student.bn1.num_batches_tracked.item(), teacher.bn1.num_batches_tracked.item()
    assert before == (0, 0)
    distiller(*batch)
    assert (student.bn1.num_batches_tracked.item(), teacher.bn1.num_batches_tracked.item()) == (1, 1)


def test_making_a_distiller_leaves_no_trace():
    student, teacher = net(), LiveTeacher(net(1), train_mode=True)
    student.bn1.eval()
    states, random = [copy.deepcopy(n.state_dict()) for n in (student, teacher)], torch.get_rng_state()
    limbeck.Distiller(student, teacher, "at", example=torch.zeros(2, 3, 16, 16))
    assert torch.equal(torch.get_rng_state(), random)
    for network, state in zip((student, teacher), states, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert student.training
    assert not student.bn1.training
    assert teacher.network.bn1.training


def test_the_students_numbers_are_those_without_features(batch):
    """Weight 0 on the features: training is the student's alone, step by step."""
    ends = []
    for method in ("none", create("fitnet", fitnet_weight=0)):
        student = net()
        distiller = limbeck.Distiller(student, net(1), method, example=batch[0])
        optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            distiller(*batch).loss.backward()
            optimizer.step()
        ends.append(student.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_training_with_features_brings_them_closer(batch):
    distiller = made(create("fitnet", fitnet_weight=1.0))
    optimizer = torch.optim.Adam(distiller.parameters(), lr=1e-2)
    parts = []
    for _ in range(30):
        optimizer.zero_grad()
        out = distiller(*batch)
        out.loss.backward()
        optimizer.step()
        parts.append(out.parts["fitnet"].item())
    assert parts[-1] < 0.7 * parts[0]


class Dictionary(nn.Module):
    """Takes its pixels by name and returns a mapping, with a way that depends on them."""

    def __init__(self, width, seed):
        super().__init__()
        self.body = net(seed, width)

    def forward(self, *, pixels, mask):
        return {"logits": self.body(pixels if mask.all() else pixels * mask)}


def test_networks_of_mappings(batch):
    student, teacher = Dictionary(0.5, 0).eval(), Dictionary(1.0, 1)
    inputs = {"pixels": batch[0], "mask": torch.ones(10, 1, 1, 1)}
    example = {name: part[:2] for name, part in inputs.items()}
    pairs = FeaturePairs(create("sp"), student, LiveTeacher(teacher), example=example)
    assert pairs.student.layers == ("body.layer3",)
    outputs, features = zip(pairs.run_student(inputs), pairs.run_teacher(inputs), strict=True)
    expected = [FeatureExtractor(network.body, ["layer3"])(batch[0]) for network in (student, teacher)]
    torch.testing.assert_close([output["logits"] for output in outputs], [logits for logits, _ in expected])
    torch.testing.assert_close([*features], [found for _, found in expected])
    assert features[0][0].requires_grad
    assert not features[1][0].requires_grad


@pytest.mark.parametrize("method", ["crd", "reviewkd"])
def test_state_survives_a_round_trip(method, batch):
    one, other = made(method), made(method, net(7))
    one(*batch).loss.backward()
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert all(torch.equal(other.state_dict()[name], value) for name, value in one.state_dict().items())


def test_everything_follows_to_another_type(batch):
    distiller = made("at+fitnet+vid+crd+reviewkd").double()
    assert {p.dtype for p in distiller.parameters()} == {torch.float64}
    assert distiller(batch[0].double(), *batch[1:]).loss.dtype == torch.float64


def test_a_student_in_double_precision_gets_such_layers(batch):
    distiller = made("fitnet", net().double(), net(1).double())
    assert next(distiller.extra_parameters()).dtype == torch.float64


def test_channels_last(batch):
    plain = made("at+fitnet").eval()
    expected = plain(*batch).loss
    plain.to(memory_format=torch.channels_last)
    value = plain(batch[0].to(memory_format=torch.channels_last), *batch[1:]).loss
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["at", "kd+fitnet"])
def test_mixed_precision(method, batch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = made(method)(*batch)
    assert all(part.dtype == torch.float32 for part in out.parts.values())


def test_compiles(batch):
    distiller = made("kd+at+fitnet").eval()
    compiled = torch.compile(distiller, backend="aot_eager")
    torch.testing.assert_close(compiled(*batch).loss, distiller(*batch).loss)


def test_the_teachers_inputs_are_adapted(batch):
    teacher = net(1)
    adapter = InputAdapter((0.0,) * 3, (1.0,) * 3, (0.5,) * 3, (2.0,) * 3, size=24)
    distiller = made("sp", net().eval(), LiveTeacher(teacher, adapter=adapter))
    assert [shape[1:] for shape in distiller.feature_pairs.teacher_shapes] == [(6, 6)]
    own = FeatureExtractor(distiller.student, ["layer3"])(batch[0])[1][0]
    other = FeatureExtractor(teacher, ["layer3"])(adapter(batch[0]))[1][0]
    torch.testing.assert_close(distiller(*batch).parts["sp"], 3000 * losses.sp_loss(own, other))


@pytest.mark.parametrize("divide_by", ["all", "selected"])
@pytest.mark.parametrize("method", ["select+fitnet", "select+kd+sp"])
def test_only_selected_samples_are_compared(method, batch, divide_by):
    method = create(method, scorer="random", ratio=0.5, per_class=False, divide_by=divide_by)
    distiller = made(method, net().eval())
    mask = distiller.select([batch])
    assert int(mask.sum()) == 5
    name = method.terms[-1].name
    whole = distiller(*batch).parts[name]
    distiller.selected = None
    alone = made(name, distiller.student, distiller.teacher.network)
    alone.losses.load_state_dict({k.replace("1.", "0.", 1): v for k, v in distiller.losses.state_dict().items()})
    expected = alone(batch[0][mask], batch[1][mask], batch[2][mask]).parts[name]
    torch.testing.assert_close(whole, expected / 2 if divide_by == "all" else expected)


def test_targets_correct_the_logits_beside_features(batch):
    student, teacher = net().eval(), net(1)
    out = made("rectify+kd+at", student, teacher)(*batch)
    plain = limbeck.Distiller(student, teacher, "rectify+kd")(*batch)
    torch.testing.assert_close(out.parts["kd"], plain.parts["kd"])


def test_classes_may_differ_where_only_features_are_compared(batch):
    teacher = limbeck.models.create("resnet8", num_classes=9)
    assert made("fitnet", teacher=teacher)(*batch).loss.isfinite()


def test_a_last_batch_of_one_sample(batch):
    for method in METHODS:
        distiller = made(method)
        distiller.student.eval()
        out = distiller(*(tensor[:1] for tensor in batch))
        out.loss.backward()
        assert out.loss.isfinite(), method


def test_what_only_features_need_is_ignored_by_others(batch):
    assert made("kd", student_layers=["nowhere"], example=None)(*batch).loss.isfinite()
    assert limbeck.Distiller(net(), net(1), "kd").feature_pairs is None


def test_a_loss_of_ones_own(batch):
    class Means(losses.PairLoss):
        def pair(self, number, student, teacher, weight):
            return (student.mean() - teacher.mean()).square()

    parts = Parts(extras=(Term("means", 2.0, Means, features=True, layers="last"),), teacher="any")
    method = limbeck.methods.Method("means", {}, "any", terms=parts.extras)
    assert set(made(method)(*batch).parts) == {"ce", "means"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made("fitnet", example=None), "example: got NoneType, expected a batch of inputs, as 'fitnet'"),
        (lambda: made("fitnet", example=torch.zeros(2, 7)), "example: Sequential cannot take it ("),
        (lambda: made("crd", num_samples=None), "num_samples: got None, expected the number of training images"),
        (lambda: made("at", student_layers=["layer9"]), "unknown layer 'layer9' of Sequential"),
        (lambda: made("at", teacher_layers=["layer9"]), "unknown layer 'layer9' of Sequential"),
        (lambda: made("at", student_layers="layer1"), "student layers: got 'layer1', expected a list of names"),
        (lambda: made("at", teacher_layers=[]), "teacher layers: got [], expected a list of names"),
        (
            lambda: made("at", student_layers=["layer1"], teacher_layers=["layer1", "layer2"]),
            "teacher layers: got 2, expected 1, one for each of the student's",
        ),
        (
            lambda: made("at", student_layers=["conv1", "layer1", "layer2", "layer3"]),
            "teacher layers: found 3 stages to compare, expected 4: name layers",
        ),
        (
            lambda: made("at", nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), net()),
            "student layers: found 0 stages to compare, expected 1: name layers",
        ),
        (lambda: made("at", student_layers=["flatten"], teacher_layers=["flatten"]), "shapes: got a vector (32,)"),
        (
            lambda: made("at", teacher=LightweightTeacher(LightweightBank(torch.randn(4, 5, 4), accuracy=1.0))),
            "method 'at': compares features, needs a network as teacher, got LightweightTeacher",
        ),
        (
            lambda: made("at", teacher=EnsembleTeacher([LiveTeacher(net(1)), LiveTeacher(net(2))])),
            "method 'at': compares features, needs a network as teacher, got EnsembleTeacher",
        ),
        (lambda: limbeck.Distiller(net(), method="at"), "method 'at': needs a teacher, pass teacher="),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_crd_needs_indices(batch):
    with pytest.raises(UserError, match="indices: got None"):
        made("crd")(*batch[:2])
