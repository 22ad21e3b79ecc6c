"""Where runs train: the value of ``--on``, what a task takes, and what is refused before anything starts."""

import importlib
import socket
import sys

import pytest

import limbeck
from limbeck.errors import UserError
from limbeck.methods.registry import REGISTRY as METHODS
from limbeck.recipes.loading import load_recipe
from limbeck.runs.placement import Placement
from limbeck.runs.ray_cluster import Machine, connected
from limbeck.runs.resuming import meaning

ADDRESSES = {
    "ray://head:10001": "ray://head:10001",
    "ray:head:6379": "head:6379",
    "ray:[::1]:6379": "[::1]:6379",
    "ray:auto": "auto",
    "ray:local": "local",
}


def test_every_form_of_on():
    assert Placement.parse("local") == Placement("local")
    assert Placement.parse("ray") == Placement("ray")
    assert Placement.parse("ray:8") == Placement("ray", tasks=8)
    for text, address in ADDRESSES.items():
        assert Placement.parse(text) == Placement("ray", address=address)


@pytest.mark.parametrize(
    "on", ["", "slurm", "Ray", "ray:", "ray:0", "ray:-1", "ray:x", "ray://", "ray://head", "local:2"]
)
def test_any_other_value_is_refused_before_anything_is_written(tiny, tmp_path, limbeck, on):
    code, _, err = limbeck("compare", write(tiny, tmp_path), "--on", on, "--out", tmp_path / "c")
    expected = "expected local, ray, ray:TASKS, ray:HOST:PORT or ray://HOST:PORT"
    assert (code, err) == (2, f"limbeck: on: got {on!r}, {expected}\n")
    assert not (tmp_path / "c").exists()


def write(recipe, folder):
    path = folder / "tiny.yaml"
    path.write_text(importlib.import_module("yaml").safe_dump(recipe))
    return path


@pytest.mark.parametrize("name", ["compare", "search"])
def test_a_package_that_is_missing_is_one_line(tiny, tmp_path, limbeck, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = limbeck(name, write(tiny, tmp_path), "--on", "ray", "--out", tmp_path / "c")
    line = "limbeck: on: ray: needs the package ray, which is missing, expected pip install 'limbeck[ray]'\n"
    assert (code, err) == (2, line)
    assert not (tmp_path / "c").exists()


def test_how_many_at_a_time_is_given_once(tiny, tmp_path):
    assert Placement.parse("ray:8").at_a_time(None) == Placement.parse("ray").at_a_time(8) == 8
    for on, jobs, reason in (("ray:8", 4, "^jobs: got 4 beside on ray:8, expected one"), ("ray", 0, "^jobs: got 0, ")):
        with pytest.raises(UserError, match=reason):
            limbeck.compare(tiny, out=tmp_path / "c", on=on, jobs=jobs)


def gap(student_logits, teacher_logits, *, weight=None):
    return (student_logits - teacher_logits).square().mean()


def test_names_of_this_process_alone_are_refused(tiny, tmp_path):
    limbeck.methods.register_loss("gap_here", gap)
    try:
        with pytest.raises(UserError, match="^on: got 'ray', but gap_here was registered in this process, which other"):
            limbeck.compare({**tiny, "compare": {"methods": ["gap_here"]}}, out=tmp_path / "c", on="ray")
    finally:
        METHODS.unregister("gap_here")


def test_an_address_at_which_nothing_listens_is_one_line_at_once():
    pytest.importorskip("ray", reason="needs the extra limbeck[ray]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(UserError, match=f"^on: no Ray cluster can be used at {address} .*refused") as error:
            connected(address).__enter__()
        assert "\n" not in str(error.value)


def test_what_a_task_takes_follows_the_device_and_the_recipe():
    settings = load_recipe("quickstart").ray
    assert (settings.cpus, settings.threads, settings.gpus("cpu"), settings.gpus("cuda")) == (1, 1, 0, 1)
    settings = load_recipe("quickstart", {"ray.num_cpus": 4, "ray.num_gpus": 0.5}).ray
    assert (settings.cpus, settings.threads, settings.gpus("cpu"), settings.gpus("cuda")) == (4, 4, 0.5, 0.5)
    assert load_recipe("quickstart", {"ray.num_cpus": 0.5}).ray.threads == 1
    for key, value in (("num_cpus", 0), ("num_cpus", 1.5), ("num_gpus", -1), ("num_gpus", 2.5)):
        with pytest.raises(UserError, match=f"^ray.{key}: got "):
            load_recipe("quickstart", {f"ray.{key}": value})


def test_it_is_no_part_of_what_a_run_means():
    other = load_recipe("quickstart", {"ray.num_cpus": 4})
    assert meaning(other) == meaning(load_recipe("quickstart"))


def test_room_is_counted_machine_by_machine():
    assert Machine(3, 0).room(2, 0) == 1
    assert Machine(16, 4).room(1, 0.5) == 8
    assert Machine(16, 0).room(1, 1) == 0
