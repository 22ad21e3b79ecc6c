"""SIGTERM within a run."""

import os
import signal
import threading

import pytest

from limbeck.runs.signals import Terminated, terminates_as_interrupt


def test_sigterm_is_an_interrupt_within_and_what_it_was_after():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), terminates_as_interrupt(), terminates_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_a_handler_of_the_caller_stays(handler):
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with terminates_as_interrupt():
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_and_worker_processes_are_left_alone(monkeypatch):
    found = []

    def look():
        with terminates_as_interrupt():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    monkeypatch.setattr("limbeck.runs.signals.multiprocessing.parent_process", lambda: "a parent")
    look()
    assert found == [signal.SIG_DFL, signal.SIG_DFL]
