"""The engine on a task of dictionaries, without images and without an accuracy."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from error_rate import CLASSES, ErrorRate, Lists, Net, batches_of
from limbeck import Distiller
from limbeck.data import Batch, kept_workers
from limbeck.errors import RunError, UserError
from limbeck.tasks import Classification, Metric
from limbeck.training import (
    Engine,
    EpochMeter,
    OptimizerSettings,
    TrainingSettings,
    Wording,
    epoch_line,
    make_fabric,
    measure,
)
from limbeck.training.checkpoint import load_checkpoint, save_checkpoint
from limbeck.training.compiling import compile_network
from limbeck.training.graphs import GraphedSteps

SETTINGS = {
    "epochs": 4,
    "batch_size": 16,
    "device": "cpu",
    "precision": "fp32",
    "optimizer": OptimizerSettings(name="sgd", lr=0.3),
    "schedule": "constant",
}


def engine(teacher=None, method="kd", views=None, splits=None, student=None, device="cpu", **more):
    kept = {name: more.pop(name) for name in ("checkpoint", "num_classes", "log", "after_epoch") if name in more}
    settings = TrainingSettings(**{**SETTINGS, "device": device, **more})
    fabric = make_fabric(settings)
    distiller = Distiller(student or Net(), teacher or Net(1, 16), method=method, task=ErrorRate(CLASSES))
    views = views or Lists(batches_of())
    splits = {"test": Lists(batches_of(seed=1))} if splits is None else splits
    return Engine(distiller.to(fabric.device), views, settings, fabric=fabric, splits=splits, **kept)


def errors_by_hand(net, batches):
    net = copy.deepcopy(net).cpu().eval()
    wrong = [net(**inputs)["scores"].argmax(dim=1) != targets for inputs, targets, _ in batches]
    return torch.cat(wrong).double().mean().item()


def test_a_network_is_measured_by_the_tasks_metrics():
    net = Net().train()
    found = measure(net, map(Batch.of, batches_of()), ErrorRate())
    assert found.error == pytest.approx(errors_by_hand(net, batches_of()))
    assert found.numbers().keys() == {"error", "margin", "rows"}
    assert found.predictions is None
    assert net.training


@pytest.mark.parametrize("method", ["kd", "dist", "lr", "dr_kd"])
def test_a_training_is_recorded_by_the_tasks_figures(method):
    trained = engine(method=method, views=Lists(batches_of(1)), epochs=30)
    before = errors_by_hand(trained.network, batches_of(1))
    rows = trained.fit()
    # The only batch of the first epoch is seen by the student as it was.
    assert rows[0]["train.error"] == pytest.approx(before)
    assert rows[-1]["test.error"] == pytest.approx(errors_by_hand(trained.network, batches_of(seed=1)))
    assert rows[-1]["train.loss"] < rows[0]["train.loss"]
    assert rows[-1]["samples_per_second"] > 0
    assert not [name for row in rows for name in row if "accuracy" in name or "images" in name]


def test_batches_may_lie_in_a_loader_or_a_list():
    values, labels = torch.randn(32, 5), torch.randint(3, (32,))
    loader = DataLoader(TensorDataset(values, labels), batch_size=8)

    class Loaded(Lists):
        def epoch(self, epoch):
            return iter(loader)

    settings = TrainingSettings(**{**SETTINGS, "epochs": 1})
    distiller = Distiller(nn.Linear(5, 3), method="none", num_classes=3)
    trained = Engine(
        distiller, Loaded([0] * 4), settings, fabric=make_fabric(settings), splits={"test": [(values, labels)]}
    )
    (row,) = trained.fit()
    right = (distiller.student(values).argmax(dim=1) == labels).double().mean().item()
    assert row["test.accuracy"] == pytest.approx(right)
    assert torch.equal(trained.measured["test"].predictions, distiller.student(values).argmax(dim=1))


def test_what_is_no_batch_is_one_line():
    for wrong, got in (({"values": 1}, "dict"), ((1, 2, 3, 4), "4 parts"), (torch.zeros(2), "Tensor")):
        with pytest.raises(UserError, match=f"batch: got {got}, expected a Batch or a tuple"):
            Batch.of(wrong)


def test_nothing_is_copied_that_is_on_the_device():
    batch = Batch.of(batches_of(1)[0])
    moved = batch.to("cpu")
    for stays, was in zip((*moved.inputs.values(), *moved[1:]), (*batch.inputs.values(), *batch[1:]), strict=True):
        assert stays is was


def test_the_number_of_classes_is_needed_before_the_first_epoch():
    settings = TrainingSettings(**SETTINGS)
    given = {"fabric": make_fabric(settings), "splits": {"test": []}}
    distiller = Distiller(nn.Linear(5, 3), method="none")
    with pytest.raises(UserError, match="num_classes: got None, expected the number of classes"):
        Engine(distiller, Lists(batches_of()), settings, **given)
    prepared = Engine(distiller, Lists(batches_of()), settings, num_classes=3, **given)
    assert (prepared.task.num_classes, distiller.task.num_classes) == (3, None)
    assert isinstance(prepared.task, Classification)


def test_stopped_and_resumed_is_never_stopped(tmp_path):
    class Stop(Exception):
        pass

    def stop(record):
        if len(record) == 3:
            raise Stop

    with pytest.raises(Stop):
        engine(checkpoint=tmp_path / "last", after_epoch=stop).fit()
    # A record as version 0.1 wrote it.
    state = load_checkpoint(tmp_path / "last", log=lambda _: None)
    for row in state["record"]:
        row["images_per_second"] = row.pop("samples_per_second")
    save_checkpoint(tmp_path / "last", state)
    resumed, whole = engine(checkpoint=tmp_path / "last"), engine()
    resumed.fit(resume=True)
    whole.fit()
    times = {"seconds", "samples_per_second"}
    for row, expected in zip(resumed.record, whole.record, strict=True):
        assert row.keys() == expected.keys()
        assert {k: v for k, v in row.items() if k not in times} == {k: v for k, v in expected.items() if k not in times}
    for name, values in resumed.network.state_dict().items():
        assert torch.equal(values, whole.network.state_dict()[name])


def test_whatever_is_a_context_manager_is_entered():
    class Kept(Lists):
        states = ()

        def __enter__(self):
            self.states += ("in",)

        def __exit__(self, *_):
            self.states += ("out",)

    views, split = Kept(batches_of()), Kept(batches_of())
    engine(views=views, splits={"test": split}, epochs=2).fit()
    assert views.states == split.states == ("in", "out")
    with kept_workers([], iter([])):
        pass


class Spoiled(Net):
    """A teacher whose logits are nan for the samples of a mask."""

    def forward(self, values, mask):
        scores = super().forward(values, mask)["scores"]
        return {"scores": scores.masked_fill(mask[:, :1] == 0, float("nan"))}


def test_a_teacher_with_nan_is_named_on_any_task():
    counts = [int((inputs["mask"][:, 0] == 0).sum()) for inputs, _, _ in batches_of()]
    spoiled = next(count for count in counts if count)
    with pytest.raises(RunError, match=f"the teacher's logits are nan or inf in {spoiled} of the batch's 16 samples"):
        engine(Spoiled(1, 16)).fit()


class Diverging(Net):
    """A student whose scores are too large for numbers once it is not trained."""

    def forward(self, values, mask):
        scores = super().forward(values, mask)["scores"]
        return {"scores": scores if self.training else scores / 0}


def test_a_figure_that_is_no_number_ends_the_training():
    with pytest.raises(RunError, match=r"the margin on the test split is (nan|inf); try a lower learning rate"):
        engine(student=Diverging()).fit()


def test_a_figure_needs_a_name_of_its_own():
    class Clash(ErrorRate):
        def figures(self, rows):
            return {"kd": rows["main"].logits.sum()}

    trained = engine()
    trained.updates.task = Clash(CLASSES)
    with pytest.raises(UserError, match="figures: got 'kd', which is the name of a loss"):
        trained.train_epoch(0)


def test_the_line_of_an_epoch_has_the_tasks_figures():
    class Kept:
        def __init__(self):
            self.meters = []

        def step(self, position, meter):
            self.meters.append(meter)

        def epoch(self, row, epochs):
            self.line = epoch_line(row, epochs, self.meters[-1].wording)

    trained, kept = engine(epochs=1), Kept()
    trained.progress = kept
    (row,) = trained.fit()
    expected = (
        f"epoch 1/1  loss {row['train.loss']:.4f}  (ce {row['train.ce']:.4f} kd {row['train.kd']:.4f})"
        f"  train {100 * row['train.error']:.2f} %  test {100 * row['test.error']:.2f} %"
        f"  {row['samples_per_second']:.0f} samples/s  {row['seconds']:.1f} s"
    )
    assert kept.line == expected
    assert Wording().parts({"loss": 2.0, "ce": 2.0}) == {"ce": 2.0}


def test_the_line_names_a_figure_that_is_not_the_primary_metric():
    row = {"epoch": 2, "train.loss": 1.0, "train.b": 0.25, "test.a": 0.5, "samples_per_second": 9.0, "seconds": 1.0}
    wording = Wording((Metric("a", "mean IoU"), Metric("b", "pixel accuracy"), Metric("loss", "NLL", share=False)))
    assert epoch_line(row, 3, wording) == (
        "epoch 2/3  loss 1.0000  pixel accuracy 25.00 %  test 50.00 %  9 samples/s  1.0 s"
    )


def test_a_student_of_dictionaries_is_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))  # noqa: PLW0108 - a function, to be bound
    net = Net()
    assert compile_network(net, batches_of(1)[0][0], nullcontext()) is None
    assert compiled[-1] is net
    assert all(parameter.grad is None for parameter in net.parameters())
    why = compile_network(net, torch.zeros(2, 6), nullcontext())
    assert why.startswith("TypeError: ")


class Once:
    """Records a step by remembering it, and counts the replays."""

    def __init__(self):
        self.replayed = 0

    def record(self, work):
        def replay():
            self.replayed += 1

        return replay


def test_a_batch_of_another_layout_is_not_replayed():
    done, recorder = [], Once()
    steps = GraphedSteps(done.append, [], EpochMeter(), recorder, ready=lambda: None, log=print)
    alike = Batch({"values": torch.zeros(2, 3), "length": 3}, torch.zeros(2))
    others = [
        alike._replace(inputs={**alike.inputs, "length": 4}),
        alike._replace(inputs={**alike.inputs, "more": torch.zeros(2)}),
        alike._replace(targets=torch.zeros(2, dtype=torch.long)),
        alike._replace(targets=torch.zeros(1)),
        alike._replace(indices=object()),
    ]
    for batch in [alike] * 5:
        steps(batch)
    assert (len(done), recorder.replayed) == (3, 2)
    for batch in others:
        steps(batch)
    assert done[3:] == others
    assert recorder.replayed == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_batches_on_the_host_train_on_a_gpu(cuda_graph):
    logged: list[str] = []
    views = Lists(batches_of(8))
    there = engine(views=views, device="cuda", cuda_graph=cuda_graph, log=logged.append)
    here = engine(views=views)
    there.fit()
    here.fit()
    assert logged == []
    for row, expected in zip(there.record, here.record, strict=True):
        assert row["train.loss"] == pytest.approx(expected["train.loss"], rel=1e-3)
        assert row["test.error"] == pytest.approx(expected["test.error"], abs=0.05)
