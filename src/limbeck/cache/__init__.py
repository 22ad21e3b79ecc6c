"""Logit caches: a teacher's output for a training set, stored once for all trainings that read it."""

import warnings
from typing import Any

from limbeck.cache.augmentation import Augmentation
from limbeck.cache.build import Compared, compare, fill, missing, store_logits, wanted
from limbeck.cache.disk_space import require_room
from limbeck.cache.inputs import InputSource, Replayed
from limbeck.cache.key import teacher_hash
from limbeck.cache.lock import building, holding
from limbeck.cache.replay import Replay
from limbeck.cache.rows import RowFormat
from limbeck.cache.shard import Shard
from limbeck.cache.source_replay import SourceReplay
from limbeck.cache.spec import CacheSpec
from limbeck.cache.store import LogitStore
from limbeck.cache.teacher import CachedTeacher

__all__ = [
    "Augmentation",
    "CacheSpec",
    "CachedTeacher",
    "Compared",
    "InputSource",
    "LogitStore",
    "Replay",
    "Replayed",
    "RowFormat",
    "Shard",
    "SourceReplay",
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

_RENAMED = {"SignalStore": "LogitStore", "Signals": "CacheSpec"}


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        raise AttributeError(f"module 'limbeck.cache' has no attribute {name!r}")
    message = f"limbeck.cache.{name} is now limbeck.cache.{_RENAMED[name]}"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return globals()[_RENAMED[name]]
