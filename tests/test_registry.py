"""The registry that methods, models, data and tasks share."""

import logging
import sys
import threading

import pytest

from limbeck.errors import UserError
from limbeck.registry import Registry

GROUP = "limbeck.test_values"


def registry(builtins=None, **options):
    return Registry("value", GROUP, lambda: builtins or {"one": 1, "two": 2}, lambda name, found: found, **options)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Write distributions with entry points of the group, and modules, onto the import path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(distribution, points, module=None, code=""):
        folder = tmp_path / f"{distribution}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (folder / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
        if module:
            (tmp_path / f"{module}.py").write_text(code)
            # Registered for removal.
            monkeypatch.setitem(sys.modules, module, None)
            monkeypatch.delitem(sys.modules, module)

    return write


def test_a_taken_name_is_refused_unless_it_is_replaced_on_purpose():
    values = registry()
    for name in ("one", "mine"):
        if name == "mine":
            values.register(name, 3)
        with pytest.raises(UserError, match=f"^value '{name}': the name is taken, expected another name or replace="):
            values.register(name, 4)
    values.register("one", 10, replace=True)
    assert (values.get("one"), values.names()) == (10, ("one", "two", "mine"))
    assert values.local_names() == {"one", "mine"}
    values.unregister("one")
    assert (values.get("one"), values.local_names()) == (1, {"mine"})
    with pytest.raises(UserError, match="unknown registered value 'two'"):
        values.unregister("two")


@pytest.mark.parametrize("name", ["", "1st", "a+b", "a@b", "a,b", "a:b", "a.b", "a b", "../a", "_a"])
def test_a_name_that_compositions_and_folders_cannot_hold(name):
    with pytest.raises(UserError, match="expected letters, digits, _ and -, beginning with a letter"):
        registry().register(name, 3)


def test_builtins_are_filled_in_once_and_late():
    calls = []
    values = Registry("value", GROUP, lambda: calls.append(0) or {"one": 1}, lambda name, found: found)
    assert calls == []
    assert [values.get("one"), values.get("one"), values.names()] == [1, 1, ("one",)]
    assert calls == [0]


def test_an_unknown_name_lists_the_nearest_of_all(installed):
    installed("other", {"threefold": "os:sep"})
    values = registry(normalize=str.lower, forms=["file:NAME"])
    assert values.get("ONE") == 1
    with pytest.raises(UserError) as error:
        values.get("threefolds")
    assert (
        str(error.value)
        == "unknown value 'threefolds'; did you mean 'threefold'? Valid: file:NAME, one, threefold, two"
    )


def test_a_plug_in_is_imported_only_when_it_is_needed(installed):
    installed("good", {"three": "registry_good:THREE"}, "registry_good", "THREE = 3")
    installed("late", {"four": "registry_late:FOUR"}, "registry_late", "FOUR = 4")
    values = registry()
    assert values.get("one") == 1
    assert not {"registry_good", "registry_late"} & set(sys.modules)
    assert values.get("three") == 3
    assert "registry_late" not in sys.modules
    assert values.items() == {"one": 1, "two": 2, "three": 3, "four": 4}
    assert values.local_names() == frozenset()
    with pytest.raises(UserError, match="value 'three': the name is taken"):
        values.register("three", 5)


def test_a_broken_plug_in_is_one_warning_and_breaks_no_other(installed, caplog):
    installed("broken", {"bad": "registry_broken:X"}, "registry_broken", "raise RuntimeError('no\\nway')")
    installed("absent", {"gone": "registry_absent:X"})
    installed("exits", {"leaves": "registry_exits:X"}, "registry_exits", "raise SystemExit(0)")
    installed("greedy", {"one": "os:sep", "bad name!": "os:sep"})
    installed("good", {"three": "registry_good:THREE", "twin": "registry_good:THREE"}, "registry_good", "THREE = 3")
    installed("zz-second", {"twin": "os:sep"})
    values = registry()
    with caplog.at_level(logging.WARNING, "limbeck"):
        assert values.names() == values.names() == ("one", "two", "three", "twin")
    lines = [record.getMessage() for record in caplog.records]
    assert tuple(lines) == values.warnings()
    expected = {
        "broken 1.2": "RuntimeError: no way",
        "absent 1.2": "ModuleNotFoundError",
        "exits 1.2": "SystemExit: 0",
        "greedy 1.2": "the name is taken",
        "zz-second 1.2": "the name is taken",
    }
    for origin, reason in expected.items():
        assert sum(origin in line and reason in line and "\n" not in line for line in lines) == 1, origin
    assert values.get("twin") == 3
    with pytest.raises(UserError, match=r"^value 'bad': the plug-in of broken 1\.2, .* is left out: RuntimeError"):
        values.get("bad")


def test_a_python_name_is_imported_and_not_kept(tmp_path, monkeypatch):
    (tmp_path / "registry_mine.py").write_text("NUMBER = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "registry_mine", None)
    monkeypatch.delitem(sys.modules, "registry_mine")
    values = registry()
    assert values.get("python:registry_mine:NUMBER") == 7
    assert values.names() == ("one", "two")
    with pytest.raises(UserError, match="value 'python:registry mine:X': expected python:MODULE:NAME, such as"):
        values.get("python:registry mine:X")


def test_threads_register_and_read_at_once():
    values, failures = registry(), []

    def work(number):
        try:
            for step in range(50):
                values.register(f"thread{number}-{step}", step)
                assert values.get(f"thread{number}-{step}") == step
                assert len(values.names()) >= 2 + step
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (failures, len(values.names())) == ([], 2 + 8 * 50)


def test_a_plug_in_that_waits_for_another_thread_does_not_block(installed, monkeypatch):
    values = registry()
    monkeypatch.setitem(sys.modules, "registry_shared", values)
    code = """
import sys, threading
values = sys.modules["registry_shared"]
thread = threading.Thread(target=values.register, args=("inner", 5))
thread.start()
thread.join(20)
VALUE = not thread.is_alive()
"""
    installed("waits", {"outer": "registry_waits:VALUE"}, "registry_waits", code)
    assert values.get("outer") is True
    assert values.get("inner") == 5
