"""YAML of any origin, and the names and texts of recipes."""

import subprocess
import sys
import time

import pytest

from limbeck.errors import UserError
from limbeck.recipes import packaged, parse_yaml, read_recipe

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "lr: 1\nepochs: 2\nlr: 3\n",
            "mine.yaml, line 3: no valid YAML (the key 'lr' is given twice, first in line 1)",
        ),
        ("data: {name: a, name: b}", "the key 'name' is given twice, first in line 1"),
        ("[" * 500 + "]" * 500, "mine.yaml, line 1: nested more than 40 deep"),
        ("\n".join("  " * i + f"k{i}:" for i in range(500)), "mine.yaml, line 41: nested more than 40 deep"),
        (BOMB, "stands for more than 50,000 values"),
        (MERGES, "stands for more than 50,000 values"),
        ("a: &a [*a]", "stands for more than 50,000 values"),
        ("a: &a {b: *a}", "stands for more than 50,000 values"),
        ('data: {root: "a\\0b"}', r"data.root: got 'a\x00b', expected text without NUL characters"),
        ('data: {root: "\\ud800"}', "expected text that can be written as UTF-8"),
        (f"seed: {'7' * 400}", "seed: got 77777"),
        (f"seed: {'7' * 9000}", "no valid YAML"),
        ("when: 2024-99-99", "no valid YAML"),
        ("x" * 1_000_001, "has 1,000,001 characters"),
        ("a: !!python/object/apply:os.system [exit 1]", "no valid YAML (could not determine a constructor"),
        ("a: !!int ''", "mine.yaml, line 1: no valid YAML ('' is no int)"),
        ("a: 1\nb: !!timestamp x", "mine.yaml, line 2: no valid YAML ('x' is no timestamp)"),
        ("a: !!bool maybe", "no valid YAML ('maybe' is no bool)"),
        ("data: {root: !!binary /w==}", "data.root: got b'\\xff', expected text, a number, a list or a group"),
        ('data: !!set {"a\\0b"}', "expected text without NUL characters"),
    ],
)
def test_what_no_recipe_is_gives_one_short_line(text, message):
    start = time.perf_counter()
    with pytest.raises(UserError) as error:
        parse_yaml(text, "mine.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300
    assert time.perf_counter() - start < 5


def test_usual_aliases_and_merges():
    text = "base: &b {x: 1, y: 2}\nmore: &m {<<: *b, y: 3}\nlast: {<<: *m, z: 4}\nlist: [*b, *b]\n"
    assert parse_yaml(text, "mine.yaml") == {
        "base": {"x": 1, "y": 2},
        "more": {"x": 1, "y": 3},
        "last": {"x": 1, "y": 3, "z": 4},
        "list": [{"x": 1, "y": 2}] * 2,
    }


def test_packaged_recipes_parse():
    assert all("data" in parse_yaml(read_recipe(name)[1], name) for name in packaged())


@pytest.mark.parametrize(
    "source", ["x" * 5000, "a/" * 2000 + "b.yaml", "nul\0.yaml", "nul\0", "odd\udcff.yaml", "~nosuchuser/x.yaml", "/"]
)
def test_a_recipe_that_cannot_be_a_file(source):
    with pytest.raises(UserError) as error:
        read_recipe(source)
    line = str(error.value)
    assert "\n" not in line
    assert len(line) < 400
    line.encode()


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("data: mnist\n")
    assert read_recipe("~/mine.yaml") == ("mine", "data: mnist\n")


def test_names_and_texts_need_no_torch():
    code = "import sys; from limbeck.recipes import packaged, read_recipe; read_recipe(packaged()[0]);"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
