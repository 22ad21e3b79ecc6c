"""What the two processes that all test modules share call."""

import importlib
import sys
from pathlib import Path


def call(rank, world, file, name, *arguments):
    """Call a function of a test module, whose folder these processes may not have in their path."""
    folder, module = Path(file).parent, Path(file).stem
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return getattr(importlib.import_module(module), name)(rank, world, *arguments)


class Pair:
    """Two processes of one group; started once, since each imports what it needs for seconds."""

    def __init__(self, processes):
        self.processes = processes

    def run(self, function, *arguments):
        """Call ``function(rank, world, *arguments)`` in both and return both answers."""
        return self.processes.run(call, sys.modules[function.__module__].__file__, function.__name__, *arguments)
