"""What encoders ask of a batch, and batches that shrink when memory runs out."""

import sys
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from indexer.arrays import ByteArray
from schemas.errors import ModelError
from schemas.model import Preprocessing

T = TypeVar("T")

# CUDA's allocator and cuBLAS; the CPU's allocator under Linux and under Windows. Only the first
# has a class of its own, torch.OutOfMemoryError.
MEMORY_MARKS = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "can't allocate memory",
    "not enough memory",
)


def check_pixels(pixels: ByteArray, preprocessing: Preprocessing) -> None:
    """Refuse a batch that did not go through this preprocessing.

    Parameters
    ----------
    pixels : uint8 of shape (n, height, width, 3)
        RGB, resized; n may be 0.
    preprocessing : Preprocessing
        Of the model that will see them.

    Raises
    ------
    ValueError
        If the type or the shape is another.
    """
    expected = (preprocessing.height, preprocessing.width, 3)
    if pixels.dtype != np.uint8 or pixels.shape[1:] != expected:
        raise ValueError(
            f"pixels must be uint8 of shape (n, {', '.join(map(str, expected))}), "
            f"got {pixels.dtype} of shape {pixels.shape}"
        )


class ShrinkingBatches:
    """Cuts work into batches, and into smaller ones for good once memory runs out.

    Parameters
    ----------
    release : callable
        Called before a retry, to give back memory that is kept for later.
    limit : int
        Rows of the first batch, at most.
    """

    def __init__(self, *, release: Callable[[], None], limit: int = sys.maxsize) -> None:
        self.limit = limit
        self._release = release

    def map(self, encode: Callable[[slice], T], n_rows: int) -> list[T]:
        """Call `encode` for consecutive rows until all n_rows are done.

        Raises
        ------
        ModelError
            If memory runs out for a single row.
        """
        parts: list[T] = []
        start = 0
        while start < n_rows:
            rows = slice(start, min(start + self.limit, n_rows))
            part = self._attempt(encode, rows)
            if part is not None:
                parts.append(part)
                start = rows.stop
        return parts

    def _attempt(self, encode: Callable[[slice], T], rows: slice) -> T | None:
        """Encode rows, or halve the limit and return None."""
        n_rows = rows.stop - rows.start
        try:
            return encode(rows)
        except (MemoryError, RuntimeError) as error:
            if not _ran_out_of_memory(error):
                raise
            if n_rows == 1:
                raise ModelError(
                    f"the model does not fit in memory even for one input: {error}; "
                    "use a smaller model or a device with more memory"
                ) from error
        # Outside of the handler, where the error no longer holds the failed batch's tensors.
        self.limit = n_rows // 2
        self._release()
        return None


def _ran_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Tell torch's several memory errors from other ones."""
    return isinstance(error, MemoryError) or any(mark in str(error) for mark in MEMORY_MARKS)
