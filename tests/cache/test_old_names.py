"""Names of earlier versions are those of today, with one line of warning."""

import pytest

import limbeck.cache


@pytest.mark.parametrize(("old", "new"), [("Signals", "CacheSpec"), ("SignalStore", "LogitStore")])
def test_an_old_name_is_the_new_one(old, new):
    with pytest.warns(DeprecationWarning, match="is now") as warned:
        found = getattr(limbeck.cache, old)
    assert found is getattr(limbeck.cache, new)
    assert [str(warning.message) for warning in warned] == [f"limbeck.cache.{old} is now limbeck.cache.{new}"]
    assert warned[0].filename == __file__


def test_another_name():
    with pytest.raises(AttributeError, match="module 'limbeck.cache' has no attribute 'Signal'"):
        limbeck.cache.Signal  # noqa: B018
