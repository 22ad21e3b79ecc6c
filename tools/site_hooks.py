"""Hooks of the documentation site: files outside docs/ that pages link to become pages, and so do notebooks."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
# Files of the repository that the site has too, under FOLDER.
FOLDER = "repository"
OUTSIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "benchmarks/GPU.md",
    "benchmarks/recipes/*.yaml",
    "benchmarks/results/*.md",
    "examples/plugin/*",
)
_LINK = re.compile(r"(?P<start>\]\()(?P<target>[^)\s#:]+)(?P<end>(#[^)\s]*)?\))")
_FENCE = re.compile(r"^ *```")
_BLOCK = re.compile(r'<div class="(?=language-\w+ highlight">)(?P<rest>.*?</div>)', re.S)
_RULE = "\u2500" * 10


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/, and a page for each notebook."""
    for pattern in OUTSIDE:
        for path in sorted(path for path in ROOT.glob(pattern) if path.is_file()):
            place = site_path(path)
            files.append(File.generated(config, place, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(notebook)
        for place, content in notebook_files(Path(str(notebook.abs_src_path)), notebook.src_uri):
            files.append(File.generated(config, place, content=content))
    return files


def site_path(path: Path) -> str:
    """Return where the site has a file of the repository; a page instead of a notebook.

    Example:
        >>> site_path(ROOT / "docs" / "text.md"), site_path(ROOT / "SECURITY.md")
        ('text.md', 'repository/SECURITY.md')
    """
    docs = ROOT / "docs"
    if path.is_relative_to(docs):
        place = path.relative_to(docs).as_posix()
        return f"{place.removesuffix('.ipynb')}.md" if place.endswith(".ipynb") else place
    place = path.relative_to(ROOT).as_posix()
    # A README would be the index of its folder.
    return f"{FOLDER}/{place.replace('README.md', 'about.md')}"


def notebook_files(path: Path, place: str) -> list[tuple[str, str | bytes]]:
    """Turn a notebook with its outputs into a page and its pictures."""
    exporter: Any = MarkdownExporter()
    text, resources = exporter.from_filename(str(path))
    name = place.removesuffix(".ipynb")
    pictures: dict[str, bytes] = resources.get("outputs", {})
    for picture in pictures:
        text = text.replace(f"]({picture})", f"]({posixpath.basename(name)}_{picture})")
    return [(f"{name}.md", text), *((f"{name}_{picture}", content) for picture, content in pictures.items())]


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links between files of the repository lead to the pages that the site has for them."""
    source = Path(str(page.file.abs_src_path)) if page.file.abs_src_path else ROOT / "docs" / page.file.src_uri
    lines, in_code = [], False
    for line in markdown.split("\n"):
        in_code ^= bool(_FENCE.match(line))
        lines.append(line if in_code else relinked(line, source, page.file.src_uri))
    return "\n".join(lines)


def on_page_content(html: str, **_: Any) -> str:
    """Mark the blocks with a printed table, whose lines are not broken.

    Example:
        >>> on_page_content(f'<div class="language-text highlight">{_RULE}</div>')[:26]
        '<div class="printed-table '
    """
    return _BLOCK.sub(lambda block: _marked(block) if _RULE in block["rest"] else block[0], html)


def _marked(block: re.Match[str]) -> str:
    return f'<div class="printed-table {block["rest"]}'


def relinked(line: str, source: Path, place: str) -> str:
    """Rewrite the links of one line of a page.

    Args:
        line: The line.
        source: The file that it is in.
        place: Where the site has that file.

    Example:
        >>> relinked("[a](../SECURITY.md#b) [c](text.md)", ROOT / "docs" / "plugins.md", "plugins.md")
        '[a](repository/SECURITY.md#b) [c](text.md)'
    """

    def leading(link: re.Match[str]) -> str:
        target = (source.parent / link["target"]).resolve()
        if not target.exists():
            return link[0]
        there = posixpath.relpath(site_path(target), posixpath.dirname(place))
        return f"{link['start']}{there}{link['end']}"

    return _LINK.sub(leading, line)
