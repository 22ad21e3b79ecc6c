"""Every command and program on the pages of docs/ is marked and valid; ``make docs-test`` runs those marked so."""

import os
import subprocess
import sys

import pytest
from page_blocks import DOCS, ROOT, Block, all_blocks, blocks_of, pages, words_of
from page_checks import check_block, check_limbeck, check_python

from limbeck.errors import UserError

BLOCKS = all_blocks()
SELDOM = pytest.mark.skipif(not os.environ.get("LIMBECK_RUN_DOCS"), reason="runs with make docs-test")


def of_page(page):
    return [block for block in BLOCKS if block.page == page.relative_to(DOCS).as_posix()]


def test_every_block_is_marked():
    unmarked = [block.place for block in BLOCKS if block.needs_mark and block.mark is None]
    assert not unmarked, f"put <!-- docs: run -->, check, skip: REASON or file NAME above: {', '.join(unmarked)}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_what_is_marked_is_valid(page, tmp_path):
    for block in of_page(page):
        if block.mark and not block.mark.startswith("skip"):
            try:
                check_block(block, tmp_path)
            except Exception as error:
                pytest.fail(f"docs/{block.place}: {error}")


def test_most_blocks_are_checked():
    marked = [block for block in BLOCKS if block.needs_mark]
    skipped = [block.place for block in marked if str(block.mark).startswith("skip")]
    assert len(marked) > 30
    assert len(skipped) < len(marked) / 5, skipped


@SELDOM
@pytest.mark.parametrize("page", [p for p in pages() if any(b.mark == "run" for b in of_page(p))], ids=lambda p: p.name)
def test_what_is_marked_so_runs(page, tmp_path):
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for block in of_page(page):
        if block.file:
            (tmp_path / block.file).write_text(block.text)
        elif block.mark == "run":
            run(block, tmp_path)


def run(block, folder):
    shell = 'set -euo pipefail\nlimbeck() { "$PYTHON" -m limbeck "$@"; }\n'
    text = block.text if block.is_python else shell + "\n".join(block.commands)
    words = [sys.executable, "-c", text] if block.is_python else ["bash", "-c", text]
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": paths, "COLUMNS": "100"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docs/{block.place}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_blocks_and_marks_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "text\n\n<!-- docs: check -->\n```sh\nlimbeck run quickstart\n```\n"
        "\n```\nlimbeck methods\n```\n\n```\nprinted\n```\n"
    )
    first, second, third = blocks_of(page)
    assert (first.mark, first.language, first.line, first.needs_mark) == ("check", "sh", 4, True)
    assert (second.mark, second.needs_mark, third.needs_mark) == (None, True, False)


def test_a_console_has_commands_and_what_they_printed():
    text = "$ limbeck run mine.yaml \\\n    seed=1\nlimbeck: no such file\n"
    assert Block("page", 1, "console", "check", text).commands == ["limbeck run mine.yaml      seed=1"]
    assert words_of("WANDB_MODE=offline limbeck recipes own-images > mine.yaml && make test  # later") == [
        ["limbeck", "recipes", "own-images"],
        ["make", "test"],
    ]


@pytest.mark.parametrize(
    "words",
    [
        "rum quickstart",
        "run quickstart --outt x",
        "run quickstart training.epoch=1",
        "compare quickstart --methods kd,dits",
        "compare quickstart --seeds few",
        "run mine.yaml method=kd method.temprature=3",
        "cache bild mine.yaml",
    ],
)
def test_a_wrong_command_is_found(words, tmp_path):
    with pytest.raises((AssertionError, UserError)):
        check_limbeck(words.split(), tmp_path)
    check_limbeck(["compare", "quickstart", "--methods", "kd,dist", "--seeds", "2", "--out", "runs/x"], tmp_path)


@pytest.mark.parametrize("text", ["import limbeck\nlimbeck.losses.kd_los()", "from limbeck.rows import pixel", "x ="])
def test_a_wrong_program_is_found(text):
    with pytest.raises((AssertionError, SyntaxError)):
        check_python(text)
    check_python("import limbeck\nlimbeck.losses.kd_loss(a, b)\nfrom limbeck.rows import pixels, tokens\n")
