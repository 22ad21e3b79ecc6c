"""An extension of griffe, which reads docstrings for the site: they are put as Markdown."""

import re
from typing import Any

import griffe

# A section Example holds code, as Examples does.
_TITLE = re.compile(r"^Example:$", flags=re.MULTILINE)
_ROLE = re.compile(r":(?:attr|class|data|exc|func|math|meth|mod|obj):`~?([^`]+)`")


def as_markdown(text: str) -> str:
    """Rename the section Example, and write Sphinx's roles as code.

    Example:
        >>> as_markdown("See :func:`limbeck.run`.")
        'See `limbeck.run`.'
    """
    return _ROLE.sub(r"`\1`", _TITLE.sub("Examples:", text))


class Docstrings(griffe.Extension):
    """Put docstrings as Markdown."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
