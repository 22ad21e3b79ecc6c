"""How large a cache may become."""

import shutil
from pathlib import Path

from limbeck.cache.spec import CacheSpec, size
from limbeck.errors import UserError

_PAGE = 4096


def require_room(folder: Path, spec: CacheSpec, rows: int, *, limit_gb: float) -> None:
    """Refuse a cache that would be too large.

    Args:
        folder: The folder of all caches; it need not be there yet.
        spec: What the cache holds.
        rows: How many rows are still to be stored.
        limit_gb: The largest size of a full cache, in gigabytes (1e9 bytes).

    Raises:
        UserError: If the full cache is larger than the limit, or the rows do not fit on the disk.

    Example:
        >>> from limbeck.cache import RowFormat
        >>> from limbeck.data import Augment
        >>> cifar = CacheSpec("views", 50_000, RowFormat(100), Augment(crop=4, flip=True))
        >>> require_room(Path(), cifar, 0, limit_gb=1)
        Traceback (most recent call last):
        limbeck.errors.UserError: teacher.cache: 50,000 images x ... 1.65 GB, more than teacher.cache_limit_gb 1; ...
    """
    if spec.bytes > limit_gb * 1e9:
        excess = f"more than teacher.cache_limit_gb {limit_gb:g}"
        remedies = "expected a higher limit, cache_dtype float16, cache_top_k or another cache mode"
        raise UserError(f"teacher.cache: {spec.estimate}, {excess}; {remedies}")
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    # A row that is written alone takes whole pages of the disk until its neighbors come.
    needed = min(spec.bytes, rows * -(-spec.rows.bytes // _PAGE) * _PAGE)
    free = shutil.disk_usage(existing).free
    if needed > free:
        remedies = "set output.cache elsewhere, or teacher.cache off"
        raise UserError(f"teacher.cache: needs {size(needed)} in {folder}, where {size(free)} are free; {remedies}")
