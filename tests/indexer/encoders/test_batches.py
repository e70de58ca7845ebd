import numpy as np
import pytest

from indexer.encoders.batches import ShrinkingBatches
from schemas.errors import ModelError

CUDA_MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB."
CPU_MESSAGE = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


class SmallDevice:
    """Encodes numbers as their doubles, at most `capacity` at a time."""

    def __init__(self, *, capacity, error):
        self.capacity = capacity
        self.error = error
        self.batch_sizes = []
        self.n_releases = 0

    def encode(self, rows):
        size = rows.stop - rows.start
        self.batch_sizes.append(size)
        if size > self.capacity:
            raise self.error
        return 2 * np.arange(rows.start, rows.stop)

    def release(self):
        self.n_releases += 1


@pytest.mark.parametrize(
    "error", [RuntimeError(CUDA_MESSAGE), RuntimeError(CPU_MESSAGE), MemoryError()]
)
def test_batches_halve_until_they_fit_and_nothing_is_lost(error):
    device = SmallDevice(capacity=3, error=error)
    parts = ShrinkingBatches(release=device.release).map(device.encode, 10)
    np.testing.assert_array_equal(np.concatenate(parts), 2 * np.arange(10))
    assert device.batch_sizes == [10, 5, 2, 2, 2, 2, 2]
    assert device.n_releases == 2


def test_the_size_that_fitted_is_remembered():
    device = SmallDevice(capacity=3, error=RuntimeError(CUDA_MESSAGE))
    batches = ShrinkingBatches(release=device.release)
    batches.map(device.encode, 8)
    device.batch_sizes.clear()
    batches.map(device.encode, 5)
    assert device.batch_sizes == [2, 2, 1]


def test_a_short_last_batch_that_fails_does_not_grow_the_limit():
    device = SmallDevice(capacity=4, error=RuntimeError(CUDA_MESSAGE))
    batches = ShrinkingBatches(release=device.release, limit=4)
    batches.map(device.encode, 6)
    assert batches.limit == 4


def test_the_limit_holds_from_the_first_batch():
    device = SmallDevice(capacity=100, error=MemoryError())
    ShrinkingBatches(release=device.release, limit=4).map(device.encode, 9)
    assert device.batch_sizes == [4, 4, 1]


def test_no_rows_need_no_call():
    device = SmallDevice(capacity=0, error=MemoryError())
    assert ShrinkingBatches(release=device.release).map(device.encode, 0) == []


def test_one_row_that_does_not_fit_is_a_model_error():
    device = SmallDevice(capacity=0, error=RuntimeError(CUDA_MESSAGE))
    with pytest.raises(ModelError, match="does not fit in memory even for one input: CUDA out"):
        ShrinkingBatches(release=device.release).map(device.encode, 4)


def test_other_errors_pass_through():
    device = SmallDevice(capacity=0, error=RuntimeError("mat1 and mat2 shapes"))
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        ShrinkingBatches(release=device.release).map(device.encode, 4)
