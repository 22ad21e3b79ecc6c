"""Steps that are recorded once and replayed, and the compiled student."""

import copy
import shutil
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch._inductor import config as inductor_config

from limbeck import Distiller
from limbeck.cache import CachedTeacher, CacheSpec, LogitStore, RowFormat
from limbeck.data import Augment, ImageSet, Views
from limbeck.training import Engine, EpochMeter, OptimizerSettings, ScheduleSettings, TrainingSettings, make_fabric
from limbeck.training.compiling import compile_network
from limbeck.training.graphs import WARM_STEPS, why_not_graphed

SAMPLES, CLASSES = 150, 5
SETTINGS = {
    "epochs": 2,
    "batch_size": 16,
    "precision": "fp32",
    "device": "cpu",
    "optimizer": OptimizerSettings(name="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4),
    "schedule": ScheduleSettings(name="one_cycle"),
}


class Network(nn.Sequential):
    def forward(self, inputs):
        # PyTorch 2.6 compiles nothing of a network whose forward is PyTorch's own.
        return super().forward(inputs)


def network(width):
    torch.manual_seed(width)
    layers = [
        nn.Conv2d(1, width, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ]
    return Network(*layers, nn.Linear(width, CLASSES))


def views_of(fabric):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (SAMPLES, 1, 8, 8), dtype=torch.uint8, generator=generator)
    split = ImageSet(images, torch.randint(CLASSES, (SAMPLES,), generator=generator))
    return Views(
        split, batch_size=16, mean=[0.5], std=[0.2], augment=Augment(crop=1), shuffle=True, device=fabric.device
    )


def engine(logged, method="kd", student=None, teacher=None, distiller=None, **more):
    settings = TrainingSettings(**{**SETTINGS, **more})
    fabric = make_fabric(settings)
    made = distiller or Distiller(student or network(8), teacher or network(12), method=method, epochs=settings.epochs)
    made.to(fabric.device)
    return Engine(made, views_of(fabric), settings, fabric=fabric, splits={}, log=logged.append)


@pytest.fixture
def meters(monkeypatch):
    """Every meter that an engine makes."""
    made = []

    class Kept(EpochMeter):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr("limbeck.training.under_way.EpochMeter", Kept)
    return made


class Pretender:
    """Records on a CPU as a GPU does: work leaves no trace while it is recorded, and counts nothing when replayed."""

    def __init__(self, trained, meters):
        self.trained, self.meters, self.recorded, self.replayed = trained, meters, 0, 0

    def stream(self):
        return nullcontext()

    def rates(self):
        return [group["lr"] for optimizer in self.trained.updates._raw for group in optimizer.param_groups]

    def use(self, rates):
        groups = [group for optimizer in self.trained.updates._raw for group in optimizer.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate

    def record(self, work):
        distiller, optimizers, meter = self.trained.distiller, self.trained.updates._raw, self.meters[-1]
        networks, sums = copy.deepcopy(distiller.state_dict()), meter._sums.clone()
        states = [
            {parameter: copy.deepcopy(kept) for parameter, kept in optimizer.state.items()} for optimizer in optimizers
        ]
        rates = self.rates()
        work()
        distiller.load_state_dict(networks)
        meter._sums.copy_(sums)
        for optimizer, state in zip(optimizers, states, strict=True):
            optimizer.state.clear()
            optimizer.state.update(state)
        self.recorded += 1

        def replay():
            now, samples = self.rates(), meter.samples
            self.use(rates)
            work()
            self.use(now)
            meter.samples = samples
            self.replayed += 1

        return replay


class Stubborn(Pretender):
    """Cannot record, and raises as CUDA does."""

    def record(self, work):
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nmore of it")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


def assert_same_training(one, other):
    for left, right in zip(one.record, other.record, strict=True):
        for name in ("lr", "train.loss", "train.accuracy"):
            assert left[name] == pytest.approx(right[name], rel=1e-4, abs=1e-5)
    ours, theirs = (each.distiller.student.state_dict() for each in (one, other))
    for name, values in ours.items():
        torch.testing.assert_close(values, theirs[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_recorded_steps_train_as_plain_ones(meters, optimizer):
    logged: list[str] = []
    rate = {"optimizer": OptimizerSettings(name=optimizer, lr=0.01)}
    plain, recorded = engine(logged, **rate), engine(logged, **rate)
    recorded.updates._recorder = recorder = Pretender(recorded, meters)
    plain.fit()
    recorded.fit()
    assert_same_training(recorded, plain)
    # The last, smaller batch is no copy of the recorded one.
    assert (recorder.recorded, recorder.replayed) == (2, 2 * (SAMPLES // 16 - WARM_STEPS))
    assert logged == []


def test_what_cannot_be_recorded_is_logged_and_trained_without(meters):
    logged: list[str] = []
    plain, other = engine(logged, epochs=1), engine(logged, epochs=1)
    other.updates._recorder = Stubborn(other, meters)
    plain.fit()
    other.fit()
    assert_same_training(other, plain)
    assert logged == ["training.cuda_graph: steps are not recorded: operation not permitted when stream is capturing"]
    # What failed once is not tried again.
    assert other.updates._recorder is None


def test_a_cache_that_is_being_filled_is_not_recorded(meters, tmp_path):
    logged: list[str] = []
    spec = CacheSpec("views", SAMPLES, RowFormat(CLASSES, "float32"), Augment(crop=1))

    def train():
        trained = engine(logged, teacher=CachedTeacher(network(12), LogitStore.open(tmp_path, spec)), epochs=1)
        trained.updates._recorder = Pretender(trained, meters)
        trained.train_epoch(0)
        return trained.updates._recorder.recorded

    assert train() == 0
    assert logged == ["training.cuda_graph: steps are not recorded: the logit cache has not stored all rows yet"]
    assert train() == 1


@pytest.mark.parametrize(
    ("settings", "device", "precision", "why"),
    [
        ({}, "cpu", "fp32", "the device is cpu"),
        ({}, "cuda", "fp16", "fp16 scales"),
        ({"check_finite": True}, "cuda", "bf16", "check_finite reads"),
        ({"optimizer": "rmsprop"}, "cuda", "bf16", "optimizer 'rmsprop' is not one of sgd, adam, adamw"),
        ({"optimizer": {"name": "sgd", "foreach": True}}, "cuda", "bf16", "in its fused form"),
        ({"optimizer": {"name": "adam", "differentiable": False}}, "cuda", "bf16", "in its fused form"),
    ],
)
def test_reasons_not_to_record(settings, device, precision, why):
    assert why in why_not_graphed(TrainingSettings(**settings), device, precision)
    assert why_not_graphed(TrainingSettings(), "cuda", "bf16") is None


def test_a_cpu_has_no_graphs_and_logs_why():
    logged: list[str] = []
    assert engine(logged, cuda_graph=True).updates._recorder is None
    assert logged == ["training.cuda_graph: steps are not recorded: the device is cpu"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_student_learns_what_a_plain_one_does():
    logged: list[str] = []
    plain, compiled = engine(logged, epochs=1), engine(logged, epochs=1, compile=True)
    plain.fit()
    compiled.fit()
    assert logged == []
    assert compiled.distiller.student._compiled_call_impl is not None
    assert copy.deepcopy(compiled.distiller.student)._compiled_call_impl is None
    assert_same_training(compiled, plain)


def test_more_networks_than_a_function_may_be_compiled_for(monkeypatch):
    # Compilation itself is not the point here.
    monkeypatch.setattr(nn.Module, "compile", lambda self: setattr(self, "_compiled_call_impl", self._call_impl))
    resets = []
    monkeypatch.setattr("torch.compiler.reset", lambda: resets.append(True))
    for width in range(3):
        assert compile_network(network(4 + width), torch.zeros(2, 1, 8, 8), nullcontext()) is None
    assert len(resets) == 3


def test_a_student_that_cannot_be_compiled_is_trained_plainly(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    logged: list[str] = []
    student = network(7)
    before = copy.deepcopy(student.state_dict())
    with inductor_config.patch({"cpp.cxx": ("/no/such/compiler",)}):
        engine(logged, student=student, compile=True)
    assert len(logged) == 1
    assert logged[0].startswith("training.compile: the student is not compiled: ")
    assert "/no/such/compiler" in logged[0]
    assert student._compiled_call_impl is None
    for name, values in student.state_dict().items():
        assert torch.equal(values, before[name])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", "no message"),
        ("\nfirst\nsecond", "first"),
        ("raised:\n a reason\nmore", "raised: a reason"),
    ],
)
def test_why_a_network_is_not_compiled_is_one_line(message, expected):
    class Broken(nn.Linear):
        def forward(self, inputs):
            raise ValueError(message)

    assert compile_network(Broken(2, 2), torch.zeros(1, 2), nullcontext()) == f"ValueError: {expected}"


def test_features_are_read_without_a_compiled_student():
    logged: list[str] = []
    student, teacher = (nn.Sequential(network(width)[:3], network(width)[3:]) for width in (8, 12))
    example = torch.zeros(2, 1, 8, 8)
    distiller = Distiller(student, teacher, method="at", student_layers=["0"], teacher_layers=["0"], example=example)
    engine(logged, distiller=distiller, compile=True)
    assert logged == [
        "training.compile: the student is not compiled: method 'at' reads the student's features as it goes"
    ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", ["none", "kd", "dist", "dkd", "lr", "dts", "cmkd"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_on_a_gpu_a_graph_trains_as_plain_steps_do(method, optimizer):
    logged: list[str] = []
    common = {"device": "cuda", "optimizer": OptimizerSettings(name=optimizer, lr=0.01), "method": method}
    plain, graphed = engine(logged, **common), engine(logged, **common, cuda_graph=True)
    plain.fit()
    graphed.fit()
    assert logged == []
    assert_same_training(graphed, plain)


class Waits(nn.Module):
    """A student that reads a number at every step."""

    def __init__(self):
        super().__init__()
        self.body = network(8)

    def forward(self, inputs):
        out = self.body(inputs)
        return out * (1.0 if out.sum().item() > -1e30 else 0.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_a_step_that_waits_falls_back():
    logged: list[str] = []
    plain, other = (engine(logged, device="cuda", student=Waits(), cuda_graph=graph) for graph in (False, True))
    plain.fit()
    other.fit()
    assert len(logged) == 1
    assert_same_training(other, plain)
