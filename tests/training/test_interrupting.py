"""Signals within a training: the update ends, a checkpoint is written, and the line has its place."""

import os
import signal
import threading

import pytest
import torch
from torch import nn

from limbeck import Distiller
from limbeck.data.batch import Batch, batches_from
from limbeck.tasks import Classification
from limbeck.training import Engine, TrainingSettings, interrupting, make_fabric
from limbeck.training import engine as engine_module
from limbeck.training.interrupting import Interrupted, StopRequest, Terminated, stop_requests, terminate

STEPS = 4


class Views:
    """Four batches an epoch; a signal comes while the second one is made."""

    def __init__(self, number=None, repeated=1):
        self.number, self.repeated, self.made = number, repeated, []

    def __len__(self):
        return STEPS

    def epoch(self, epoch):
        for step in range(STEPS):
            if self.number is not None and step == 1:
                for _ in range(self.repeated):
                    os.kill(os.getpid(), self.number)
            self.made.append(step)
            generator = torch.Generator().manual_seed(STEPS * epoch + step)
            yield Batch(torch.randn(5, 6, generator=generator), torch.arange(5) % 3, torch.arange(5))


def engine(views, checkpoint, **settings):
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.3), nn.Linear(8, 3))
    training = TrainingSettings(epochs=2, device="cpu", precision="fp32", **settings)
    distiller = Distiller(student, method="none", task=Classification(3))
    return Engine(distiller, views, training, fabric=make_fabric(training), splits={}, checkpoint=checkpoint)


@pytest.fixture
def handled():
    """SIGTERM and SIGUSR1 raise an interrupt, as in a run."""
    before = {number: signal.signal(number, terminate) for number in interrupting.STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_answered_after_the_update(handled, tmp_path, number):
    whole = engine(Views(), None)
    whole.fit()
    stopped = engine(Views(number, repeated=2), tmp_path / "last")
    with pytest.raises(Interrupted, match=r"^saved after step 2 of 4 of epoch 1 of 2 \(\S+last\)$"):
        stopped.fit()
    assert stopped.views.made == [0, 1]
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, *interrupting.STOPPING)]
    assert handlers == [signal.default_int_handler, terminate, terminate]
    resumed = engine(Views(), tmp_path / "last")
    resumed.fit(resume=True)
    for ours, theirs in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_second_signal_ends_at_once(handled, tmp_path, monkeypatch):
    monkeypatch.setattr(interrupting, "_SAME_SECONDS", 0.0)
    stopped = engine(Views(signal.SIGTERM, repeated=2), tmp_path / "last")
    with pytest.raises(Terminated):
        stopped.fit()
    assert stopped.views.made == [0]
    assert not (tmp_path / "last").exists()


def test_a_signal_while_a_checkpoint_is_written_waits_for_it(handled, tmp_path, monkeypatch):
    """Found by killing comparisons: the epoch was saved, and the line did not have it."""
    save = engine_module.save_checkpoint

    def interrupted(folder, state):
        os.kill(os.getpid(), signal.SIGTERM)
        save(folder, state)

    monkeypatch.setattr(engine_module, "save_checkpoint", interrupted)
    stopped = engine(Views(), tmp_path / "last")
    with pytest.raises(Interrupted, match=r"^saved after epoch 1 of 2 \(\S+last\)$"):
        stopped.fit()
    monkeypatch.setattr(engine_module, "save_checkpoint", save)
    resumed = engine(Views(), tmp_path / "last")
    assert len(resumed.fit(resume=True)) == 2
    assert resumed.views.made == list(range(STEPS))


@pytest.mark.parametrize("every", [1, 2])
def test_a_signal_between_epochs_keeps_the_epoch(handled, tmp_path, every):
    """Found in the suite: the line had no place, and epochs without a checkpoint of their own were lost."""
    whole = engine(Views(), None)
    whole.fit()
    stopped = engine(Views(), tmp_path / "last", checkpoint_every=every)
    stopped.after_epoch = lambda record: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Interrupted, match=r"^saved after epoch 1 of 2 \(\S+last\)$"):
        stopped.fit()
    resumed = engine(Views(), tmp_path / "last", checkpoint_every=every)
    assert len(resumed.fit(resume=True)) == 2
    assert resumed.views.made == list(range(STEPS))
    for ours, theirs in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_without_a_checkpoint_it_interrupts_at_once():
    stopped = engine(Views(signal.SIGINT), None)
    with pytest.raises(KeyboardInterrupt) as error:
        stopped.fit()
    assert error.type is KeyboardInterrupt
    assert stopped.views.made == [0]


def test_handlers_of_the_caller_and_other_threads_are_left_alone():
    found = []

    def look():
        with stop_requests() as request:
            found.append((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), request.requested))

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        look()
    finally:
        signal.signal(signal.SIGTERM, before)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert isinstance(found[0][0], StopRequest)
    assert found[0][1] is signal.SIG_IGN
    assert found[1] == (signal.default_int_handler, before, False)


def test_a_request_that_nothing_answered_is_not_lost():
    with pytest.raises(KeyboardInterrupt), stop_requests():
        os.kill(os.getpid(), signal.SIGINT)


def test_batches_that_cannot_be_skipped_are_made_without_a_trace():
    class Drawing(Views):
        def epoch(self, epoch):
            for batch in super().epoch(epoch):
                torch.rand(3)
                yield batch

    torch.manual_seed(1)
    views, expected = Drawing(), torch.get_rng_state()
    rest = batches_from(views, 1, 3)
    assert torch.equal(torch.get_rng_state(), expected)
    assert torch.equal(next(rest).inputs, list(Views().epoch(1))[3].inputs)
