"""Allocation: the memory of one large piece serves the next, instead of going back to the system and being asked anew.

By default glibc returns blocks of several megabytes when they are freed. A consumer frees and takes such blocks all the
time: every page of each is then cleared by the kernel again, which was a third of its processor time (`make bench`).
"""

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = 32 << 20  # blocks beyond still come from the system and go back to it; glibc allows no more
_KEPT = 64 << 20  # free memory beyond goes back to the system


@cache
def keep_large_blocks() -> bool:
    """Keep freed blocks up to 32 MiB for reuse, at most 64 MiB of them, in this process; False where nobody can."""
    # Other C libraries (musl, macOS) have no such option; there all stays as it is.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
