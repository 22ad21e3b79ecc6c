"""The dense task through the engine: every system, cached and live, stopped and resumed, in fp32 and in bf16."""

import copy
import functools
import itertools

import pytest
import torch

import limbeck
from dense_task import CLASSES, SAMPLES, SIDE, FieldBatches, FieldNet, Fields
from limbeck.cache import CachedTeacher, CacheSpec, LogitStore, RowFormat
from limbeck.teachers import LightweightBank, LightweightTeacher, LiveTeacher
from limbeck.training import Engine, OptimizerSettings, TrainingSettings, make_fabric

EPOCHS = 6
METHODS = ("kd", "dist", "lr_ds", "dr_kd", "lw_kd")


def settings_of(epochs=EPOCHS, **more):
    optimizer = OptimizerSettings(name="sgd", lr=0.2, momentum=0.9)
    return TrainingSettings(**{"epochs": epochs, "batch_size": 8, "optimizer": optimizer, "precision": "fp32", **more})


def teacher_of(method):
    if method == "lw_kd":
        with torch.random.fork_rng():
            torch.manual_seed(5)
            bank = 3 * torch.eye(CLASSES)[:, None] + torch.randn(CLASSES, 7, CLASSES)
        return LightweightTeacher(LightweightBank(bank, accuracy=0.99))
    return copy.deepcopy(trained_network())


@functools.cache
def trained_network():
    network, settings = FieldNet(9, seed=2), settings_of(20)
    distiller = limbeck.Distiller(network, method="none", task=Fields(CLASSES))
    Engine(distiller, FieldBatches(), settings, fabric=make_fabric(settings), splits={}).fit()
    return network


def engine_of(method, teacher=None, settings=None, folder=None):
    torch.manual_seed(0)
    settings = settings or settings_of()
    scorer = {"scorer": "agreement", "ratio": 0.5} if method == "lr_ds" else {}
    distiller = limbeck.Distiller(
        FieldNet(seed=1),
        teacher or teacher_of(method),
        limbeck.methods.create(method, **scorer),
        task=Fields(CLASSES),
        epochs=settings.epochs,
    )
    before_epoch = None
    if method == "lr_ds":
        unshuffled = FieldBatches(shuffle=False)
        before_epoch = lambda epoch: epoch or distiller.select(unshuffled.epoch(0))  # noqa: E731
    return Engine(
        distiller,
        FieldBatches(),
        settings,
        fabric=make_fabric(settings),
        splits={"test": FieldBatches(shuffle=False, seed=3)},
        checkpoint=folder,
        before_epoch=before_epoch,
    )


def numbers(engine):
    timed = ("seconds", "samples_per_second")
    return [{key: value for key, value in row.items() if key not in timed} for row in engine.record]


@pytest.mark.parametrize("method", METHODS)
def test_every_system_trains_and_is_measured_by_the_tasks_own_metric(method):
    engine = engine_of(method)
    before = copy.deepcopy(engine.distiller.student).eval()
    record = engine.fit()
    assert record[-1]["test.error"] < record[0]["test.error"] <= 1
    assert {"train.ce", "train.ce.aux", "train.error", "samples_per_second"} <= record[-1].keys()
    assert not any("accuracy" in key or "image" in key for key in record[-1])
    ((name, measured),) = engine.measured.items()
    assert (name, measured.predictions.shape) == ("test", (SAMPLES, SIDE, SIDE))
    batch = next(iter(FieldBatches(batch_size=SAMPLES, shuffle=False).epoch(0)))
    with torch.no_grad():
        maps = engine.network.eval()(**batch.inputs)["out"]
        assert not torch.equal(maps, before(**batch.inputs)["out"])
    supervised = batch.targets != 255
    wrong = (maps.argmax(1) != batch.targets)[supervised].float().mean()
    assert measured.error == pytest.approx(wrong.item(), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_resumed_equals_never_stopped(method, tmp_path):
    whole = engine_of(method)
    whole.fit()
    first = engine_of(method, settings=settings_of(EPOCHS), folder=tmp_path)

    class Stopped(Exception):
        pass

    def stop(row, epochs):
        if row["epoch"] == 2:
            raise Stopped

    first.progress.epoch = stop
    with pytest.raises(Stopped):
        first.fit()
    second = engine_of(method, folder=tmp_path)
    second.fit(resume=True)
    assert numbers(second) == numbers(whole)
    pairs = itertools.zip_longest(whole.network.state_dict().values(), second.network.state_dict().values())
    assert all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.parametrize("method", ["kd", "dist", "lr_ds", "dr_kd"])
@pytest.mark.parametrize("mode", ["views", "epochs"])
def test_a_cached_training_is_the_live_one_bit_for_bit(method, mode, tmp_path):
    live = engine_of(method)
    live.fit()
    network = LiveTeacher(teacher_of(method))
    batch = next(iter(FieldBatches().epoch(0)))
    rows = RowFormat.of(network.answer(batch), dtype="float32")
    spec = CacheSpec(mode, SAMPLES, rows, epochs=EPOCHS if mode == "epochs" else 0)
    for _ in range(2):
        store = LogitStore.open(tmp_path, spec)
        cached = engine_of(method, CachedTeacher(network, store))
        cached.fit()
        assert numbers(cached) == numbers(live)
        assert len(store) == spec.slots


@pytest.mark.parametrize("method", METHODS)
def test_bf16_trains_as_fp32_does(method):
    records = {}
    for precision in ("fp32", "bf16"):
        engine = engine_of(method, settings=settings_of(precision=precision))
        records[precision] = engine.fit()[-1]
    assert records["bf16"]["test.error"] == pytest.approx(records["fp32"]["test.error"], abs=0.1)
    assert records["bf16"]["train.loss"] == pytest.approx(records["fp32"]["train.loss"], rel=0.1)
