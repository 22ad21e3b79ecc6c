"""Where lines about the progress of a longer piece of work go."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Log = Callable[[str], None]


def no_log(_: str) -> None:
    """Drop a line: the default of every ``log`` argument.

    Example:
        >>> no_log("training resnet8")
    """


@contextmanager
def quiet_loggers(package: str, level: int = logging.WARNING) -> Iterator[None]:
    """Leave out what the loggers of a package log below a level.

    Args:
        package: The package; each of its loggers may have a level of its own.
        level: The least level that is shown.

    Example:
        >>> with quiet_loggers("limbeck"):
        ...     logging.getLogger("limbeck").info("left out")
    """
    loggers = [logging.getLogger(package)]
    loggers += [logging.getLogger(n) for n in logging.root.manager.loggerDict if n.startswith(f"{package}.")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, former in zip(loggers, before, strict=True):
            logger.setLevel(former)
