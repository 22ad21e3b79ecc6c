"""The harness itself: what counts as a crash, and that the counts of all tests are printed."""

import time

import pytest
from hypothesis import strategies as st

from fuzzing import CLEAN, CRASHES, TRIED, WORKED, Crash, damaged, fuzz, outcome
from limbeck.errors import UserError

pytest_plugins = ["pytester"]


def failing(error):
    def attempt():
        raise error

    return attempt


def test_what_works_and_what_is_refused_with_a_line_are_no_crashes():
    assert outcome(lambda: 1) == WORKED
    assert outcome(failing(UserError("photo.png: is no image"))) == CLEAN


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("two\nlines"), UserError(""), UserError("x" * 10_000)])
def test_all_other_errors_are_crashes(error):
    with pytest.raises(Crash):
        outcome(failing(error))


def test_what_hangs_is_a_crash():
    with pytest.raises(Crash, match="longer than"):
        outcome(lambda: time.sleep(5), seconds=0.05)


def test_fuzz_counts_what_came_and_fails_with_a_crash():
    counts = {}

    def attempt(value):
        if value > 900:
            raise KeyError(value)
        if value % 2:
            raise UserError("odd")

    with pytest.raises(Crash):
        fuzz(attempt, st.integers(0, 1000), examples=500, count=counts.__setitem__)
    assert counts[CRASHES] > 0
    assert counts[TRIED] == counts[WORKED] + counts[CLEAN] + counts[CRASHES]


def test_damage_changes_bytes_lengths_and_ends(slow_counts):
    seen = []
    fuzz(seen.append, damaged(b"0123456789" * 10), examples=200, count=lambda *_: None)
    assert {len(content) < 100 for content in seen} == {True, False}
    assert any(len(content) == 100 and content != b"0123456789" * 10 for content in seen)
    assert len(set(seen)) > 100


@pytest.mark.slow
def test_counts_of_all_processes_are_summed_and_printed(pytester, request):
    hooks = (request.config.rootpath / "tests" / "conftest.py").read_text()
    start, end = hooks.index("@pytest.fixture\ndef slow_counts"), hooks.index("def names_in")
    pytester.makeconftest(f"import pytest\nfrom collections import Counter\n{hooks[start:end]}")
    body = "def test_{0}(slow_counts):\n    slow_counts('kills', {1})\n    slow_counts('resumed equal')"
    pytester.makepyfile(test_one=body.format("one", 2), test_two=body.format("two", 1500))
    done = pytester.runpytest_subprocess("-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider")
    done.stdout.fnmatch_lines(["*= counts =*", "kills 1,502, resumed equal 2"])
