"""An extension of griffe, which reads docstrings for the site: the section Example holds code, as Examples does."""

import re
from typing import Any

import griffe

_TITLE = re.compile(r"^Example:$", flags=re.MULTILINE)


class Examples(griffe.Extension):
    """Rename the section."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section of one object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _TITLE.sub("Examples:", obj.docstring.value)
