"""Where lines about the progress of a longer piece of work go."""

from collections.abc import Callable

Log = Callable[[str], None]


def no_log(_: str) -> None:
    """Drop a line: the default of every ``log`` argument.

    Example:
        >>> no_log("training resnet8")
    """
