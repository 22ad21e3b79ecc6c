"""One HTML page of everything, which loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from limbeck.report.page.content import Content

MARK = '<meta name="generator" content="limbeck">'
"""Which every page has, by which a file is known to be one."""


def render(contents: Sequence[Content], title: str) -> str:
    """Return a page as HTML.

    Every text is escaped; the page's content security policy allows its own script and pictures in it alone.

    Args:
        contents: What it shows, part by part.
        title: Its title.

    Example:
        >>> from limbeck.report.page.content import content
        >>> from limbeck.report.page.example import example_part
        >>> page = render([content(example_part(classes=("<script>", "dog", "owl")))], "Example")
        >>> MARK in page, "&lt;script&gt;" in page
        (True, True)
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("limbeck.report.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, style = (_file(environment, f"page.{suffix}") for suffix in ("js", "css"))
    template = environment.get_template("page.html")
    return template.render(parts=contents, title=title, script=script, style=style, script_hash=_hash(script))


def _file(environment: jinja2.Environment, name: str) -> Markup:
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def _hash(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
