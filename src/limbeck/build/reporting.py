"""Where lines and progress go while something is built or run."""

from dataclasses import dataclass

from limbeck.reporting import Log, no_log
from limbeck.training import Progress


@dataclass(frozen=True)
class Reporting:
    """Where lines and progress go.

    Attributes:
        log: Called with a line about each thing that happens.
        progress: Called with every step and epoch of a training; None for nowhere.

    Example:
        >>> Reporting().log("discarded")
    """

    log: Log = no_log
    progress: Progress | None = None
