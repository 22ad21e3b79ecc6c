"""A run's log file, without which the run goes on."""

from limbeck.errors import RunError
from limbeck.reporting import Log
from limbeck.runs.folder import RunFolder


class RunLog:
    """Append lines to a run's ``log.txt``; where that fails, as on a full disk, one line is reported instead.

    Args:
        folder: The run's folder.
        report: Called once with the reason, if a line cannot be written.

    Example:
        >>> log = RunLog(RunFolder("nowhere"), print)
        >>> for line in ("first", "second"):
        ...     log.append(line)
        warning: nowhere/log.txt: cannot be written (No such file or directory); the run goes on
    """

    def __init__(self, folder: RunFolder, report: Log) -> None:
        self._folder, self._report, self._failed = folder, report, False

    def append(self, line: str) -> None:
        """Append a line."""
        try:
            self._folder.log(line)
        except RunError as error:
            if not self._failed:
                self._failed = True
                self._report(f"warning: {error}; the run goes on")
