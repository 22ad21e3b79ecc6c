"""Signal caches: what a teacher says about a training set, stored once for all trainings that hear it."""

from limbeck.cache.build import Compared, ask, compare, fill, missing, wanted
from limbeck.cache.disk_space import require_room
from limbeck.cache.key import teacher_hash
from limbeck.cache.lock import building, holding
from limbeck.cache.replay import Replay
from limbeck.cache.rows import RowFormat
from limbeck.cache.spec import Signals
from limbeck.cache.store import SignalStore
from limbeck.cache.teacher import CachedTeacher

__all__ = [
    "CachedTeacher",
    "Compared",
    "Replay",
    "RowFormat",
    "SignalStore",
    "Signals",
    "ask",
    "building",
    "compare",
    "fill",
    "holding",
    "missing",
    "require_room",
    "teacher_hash",
    "wanted",
]
