"""Libraries that are not installed with limbeck itself."""

import importlib
from types import ModuleType

from limbeck.errors import UserError


def extra_library(name: str, extra: str) -> ModuleType:
    """Import a library of one of limbeck's extras.

    Args:
        name: The module's name.
        extra: The extra that installs it.

    Raises:
        UserError: If it is not installed.

    Example:
        >>> extra_library("gone", "text")
        Traceback (most recent call last):
        limbeck.errors.UserError: the library 'gone' is not installed, expected: pip install 'limbeck[text]'
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise UserError(f"the library {name!r} is not installed, expected: pip install 'limbeck[{extra}]'") from None
