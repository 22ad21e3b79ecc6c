"""Logit caches: what a teacher says about a training set, stored once for all trainings that hear it."""

from limbeck.cache.build import Compared, compare, fill, missing, store_logits, wanted
from limbeck.cache.disk_space import require_room
from limbeck.cache.key import teacher_hash
from limbeck.cache.lock import building, holding
from limbeck.cache.replay import Replay
from limbeck.cache.rows import RowFormat
from limbeck.cache.spec import CacheSpec
from limbeck.cache.store import LogitStore
from limbeck.cache.teacher import CachedTeacher

__all__ = [
    "CacheSpec",
    "CachedTeacher",
    "Compared",
    "LogitStore",
    "Replay",
    "RowFormat",
    "building",
    "compare",
    "fill",
    "holding",
    "missing",
    "require_room",
    "store_logits",
    "teacher_hash",
    "wanted",
]
