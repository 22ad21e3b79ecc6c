"""Damaged inputs of any reader, and what came of them: it worked, or there was one clear line. All else is a crash."""

import resource
import signal
import sys
from collections import Counter
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limbeck.errors import UserError

WORKED, CLEAN, TRIED, CRASHES = "worked", "clean errors", "inputs tried", "crashes"
LONGEST, MOST_MEMORY = 2000, 1500


class Crash(AssertionError):
    """A reader raised what its user cannot use, took too long, or took too much memory."""


def outcome(attempt, *, clean=(UserError,), seconds=30):
    """Call ``attempt`` and return WORKED, or CLEAN for an error of one line; raise Crash for anything else."""
    before = peak_memory()
    try:
        with limited(seconds):
            attempt()
    except clean as error:
        _check_line(str(error))
        return CLEAN
    except Exception as error:
        raise Crash(f"{type(error).__name__}: {error}") from error
    finally:
        grown = peak_memory() - before
    if grown > MOST_MEMORY:
        raise Crash(f"took {grown:.0f} MiB")
    return WORKED


def _check_line(text):
    if not text or not text.isprintable() or len(text) > LONGEST:
        raise Crash(f"expected an error of one printable line, got {text!r}")


def peak_memory():
    """The most memory this process has had, in MiB."""
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@contextmanager
def limited(seconds):
    """Raise Crash when a block takes longer; it is in the main thread."""

    def stop(*_):
        raise Crash(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def amounts(few, many):
    """Give a test its argument ``examples``: a ``few`` in make test, ``many`` in make test-slow."""
    cases = [pytest.param(few, id="few"), pytest.param(many, id="many", marks=pytest.mark.slow)]
    return pytest.mark.parametrize("examples", cases)


def fuzz(attempt, inputs, *, examples, count, **more):
    """Call ``attempt`` with examples of a strategy, count the outcomes, and fail with the smallest input that crashes.

    ``count`` is the fixture ``slow_counts``; ``more`` goes to :func:`outcome`. Returns the outcomes.
    """
    outcomes = Counter()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(inputs)
    def trial(value):
        outcomes[TRIED] += 1
        try:
            outcomes[outcome(lambda: attempt(value), **more)] += 1
        except Crash:
            outcomes[CRASHES] += 1
            raise

    try:
        trial()
    finally:
        for name in (TRIED, WORKED, CLEAN, CRASHES):
            count(name, outcomes[name])
    return outcomes


def damaged(*contents):
    """Any damage to one of the contents (bytes): cut off, bytes changed, a block lost, doubled or overwritten."""
    return st.sampled_from(contents).flatmap(_damaged)


def _damaged(content):
    place = st.integers(0, len(content))
    return st.one_of(
        place.map(lambda end: content[:end]),
        st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=8).map(lambda c: _changed(content, c)),
        st.tuples(place, place).map(lambda p: content[: min(p)] + content[max(p) :]),
        st.tuples(place, place).map(lambda p: content[: max(p)] + content[min(p) :]),
        st.tuples(place, st.binary(max_size=16)).map(lambda p: content[: p[0]] + p[1] + content[p[0] + len(p[1]) :]),
        st.tuples(place, st.binary(max_size=16)).map(lambda p: content[: p[0]] + p[1] + content[p[0] :]),
        st.binary(max_size=256),
    )


def _changed(content, changes):
    changed = bytearray(content)
    for place, value in changes:
        if place < len(changed):
            changed[place] = value
    return bytes(changed)
