"""The programs and commands on the pages of docs/, each with the mark above it that says how it is tested.

- ``<!-- docs: run -->``: run as typed by ``make docs-test``, in a folder that the blocks of a page share; checked by
  ``make test``.
- ``<!-- docs: check -->``: checked alone: names and options of commands, keys and values of recipes, names of Python.
- ``<!-- docs: file NAME -->``: a file that later blocks of the page use; checked if it is a recipe or a program.
- ``<!-- docs: skip: REASON -->``: neither.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SHELL = ("sh", "bash", "console")
_MARK = re.compile(r"<!-- docs: (run|check|skip: \S.*|file \S+) -->")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")
_COMMAND = re.compile(r"^(\$ )?(limbeck|make|pip|python) \S")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    mark: str | None
    text: str

    @property
    def place(self):
        return f"{self.page}:{self.line}"

    @property
    def file(self):
        return self.mark.removeprefix("file ") if self.mark and self.mark.startswith("file ") else None

    @property
    def is_python(self):
        return self.language == "python" or bool(self.file and self.file.endswith(".py"))

    @property
    def needs_mark(self):
        has_command = any(_COMMAND.match(line) for line in self.text.splitlines())
        return self.language in ("python", *SHELL) or (not self.language and has_command)

    @property
    def commands(self):
        """The lines that are typed; what a console prints in between is left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language in ("sh", "bash"):
            return [line for line in lines if line.strip() and not line.startswith("#")]
        return [line.removeprefix("$ ") for line in lines if line.startswith("$ ") or _COMMAND.match(line)]


def blocks_of(page):
    """List the fenced blocks of a page."""
    found, lines, number = [], page.read_text().splitlines(), 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            number += 1
            continue
        end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == "```")
        above = next((line for line in reversed(lines[:number]) if line.strip()), "")
        mark = _MARK.fullmatch(above.strip())
        width = len(fence["indent"])
        text = "\n".join(line[width:] for line in lines[number + 1 : end]) + "\n"
        name = page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else page.name
        found.append(Block(name, number + 1, fence["language"], mark and mark[1], text))
        number = end + 1
    return found


def pages():
    return sorted(DOCS.rglob("*.md"))


def all_blocks():
    return [block for page in pages() for block in blocks_of(page)]


def words_of(command):
    """Split a line into the words of each of its commands; assignments in front and redirections are left out."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    parts = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            parts.append([])
        else:
            parts[-1].append(word)
    return [_plain(part) for part in parts if part]


def _plain(words):
    cut = next((n for n, word in enumerate(words) if word in (">", ">>", "<")), len(words))
    words = words[:cut]
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words
