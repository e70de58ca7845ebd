"""Nearest embeddings by FAISS: exact up to some 200,000 rows, approximate above.

An index is a cache of the collection's embeddings, in row order: it can be rebuilt at any time,
and a file that cannot be read is no loss.
"""

import logging
import math
import os
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from indexer.arrays import ByteArray, Float16Array, FloatArray, IntArray
from indexer.scoring.shapes import require_matrix
from indexer.scoring.similarity import exact_search
from schemas.errors import InputError, MissingExtraError, StorageError

# Batches from this size on go through FAISS's blocked matrix products. The wheels ship 128,000,
# which leaves them to a scalar loop: 98 instead of 1,324 queries a second at 100,000 x 512.
BLAS_BATCH = 20

# Rows and queries per matrix product. FAISS's 1,024 rows mean a barrier for all threads every few
# milliseconds, each of which costs a scheduler's time slice where other programs run: 400 queries
# over 100,000 x 512 took 2.0 s so, and 0.5 s with 65,536. A block takes 256 MiB at most.
BLAS_BLOCK_ROWS = 65_536
BLAS_BLOCK_QUERIES = 1_024

# A filtered search of fewer queries than this tests every row against a bitmap: that reads only
# the chosen vectors, where they lie (100,000 x 512, half of them: 10 ms, gathering them 68 ms).
# For more queries one copy and a matrix product is cheaper (400 queries: 0.5 s against 2.8 s).
GATHER_BATCH = 8
# So few chosen vectors are gathered faster than a bitmap of all rows is made and scanned.
GATHER_ROWS = 2_048

# Rows that k-means sees per cell. Twice as many train three times longer for .001 of recall.
TRAINING_ROWS_PER_LIST = 64

# Cells visited per query. On 300,000 clustered vectors in 1,024 cells recall@10 is .990 with 16,
# .995 with 32 and .996 with 64, at 1.3 ms per query; where clusters overlap so much that 32
# find .86, 64 find .91.
N_PROBE = 64

EXACT_LIMIT = 200_000
"""Up to so many rows every row is compared: 5 ms at 100,000 x 512, one query at a time."""

# Rows taken to float32 at a time: 128 MiB at 512 dimensions.
ADD_BLOCK_ROWS = 65_536

GPU_DEVICE = 0
# What FAISS's selection kernels can hold; longer answers come from the CPU.
GPU_MAX_TOP_K = 2_048

logger = logging.getLogger(__name__)


class DamagedIndexError(ValueError):
    """An index file that is missing, cut short or of another format: the caller rebuilds it."""


def faiss_is_available() -> bool:
    """Say whether the `faiss` package can be imported."""
    try:
        _faiss()
    except MissingExtraError:
        return False
    return True


class AnnIndex:
    """Unit vectors in row order, searched by inner product.

    Made by `build_ann_index` and `load_ann_index`. Any number of threads may search at once (on a
    GPU they take turns); nothing may search while `add` runs.

    Parameters
    ----------
    faiss_index : faiss.IndexFlatIP or faiss.IndexIVFScalarQuantizer
    use_gpu : bool, optional
        Search on the first GPU: True demands it, None uses it where there is one. Filtered
        searches stay on the CPU, which keeps the vectors in any case.
    is_mapped : bool
        Whether the vectors are a read-only view of a file.

    Raises
    ------
    InputError
        If `use_gpu` is True and FAISS sees no GPU.
    """

    def __init__(
        self, faiss_index: Any, *, use_gpu: bool | None = None, is_mapped: bool = False
    ) -> None:
        self._faiss = _faiss()
        self._index = faiss_index
        self._is_mapped = is_mapped
        self._gpu_index = _copied_to_gpu(self._faiss, faiss_index, use_gpu=use_gpu)
        self._gpu_lock = threading.Lock()
        self._map_lock = threading.Lock()

    @property
    def n_rows(self) -> int:
        """How many vectors it holds."""
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    @property
    def kind(self) -> Literal["exact", "ivf"]:
        """Whether every row is compared, or those of the nearest cells."""
        return "ivf" if hasattr(self._index, "nlist") else "exact"

    def add(self, vectors: FloatArray | Float16Array) -> None:
        """Append rows; the first gets the number `n_rows`.

        The kind and the cells stay what they were: rebuild when the collection has doubled.

        Parameters
        ----------
        vectors : float32 or float16 of shape (n, d)
            Unit length; may be mapped from a file.

        Raises
        ------
        ValueError
            If the width differs.
        """
        require_matrix("vectors", vectors, width=self.dimension)
        if self._is_mapped:
            # FAISS 1.15 aborts the process when it has to grow a mapped index.
            self._index = self._faiss.deserialize_index(self._faiss.serialize_index(self._index))
            self._is_mapped = False
        for start in range(0, len(vectors), ADD_BLOCK_ROWS):
            block = np.ascontiguousarray(vectors[start : start + ADD_BLOCK_ROWS], dtype=np.float32)
            self._index.add(block)
            if self._gpu_index is not None:
                self._gpu_index.add(block)

    def search(
        self, queries: FloatArray, *, top_k: int, rows: IntArray | None = None
    ) -> tuple[FloatArray, IntArray]:
        """Return the nearest rows of each query.

        Parameters
        ----------
        queries : float32 of shape (m, d)
            Unit length.
        top_k : int
            Hits per query, at least 1.
        rows : int64 of shape (n_allowed,), optional
            Answer with these rows only. Such a search is exact for both kinds.

        Returns
        -------
        similarities : float32 of shape (m, top_k)
            Cosines, descending; -inf where fewer rows were found.
        rows : int64 of shape (m, top_k)
            -1 where fewer rows were found. Among equal similarities any may come first.

        Raises
        ------
        ValueError
            If the width differs, top_k < 1, or a row is not in the index.
        """
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        require_matrix("queries", queries, width=self.dimension)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        # Asking FAISS for more rows than there are costs memory and returns padding.
        k = min(top_k, max(1, self.n_rows if rows is None else len(rows)))
        if rows is not None:
            hits = self._search_rows(queries, rows, k)
        elif self._gpu_index is not None and k <= GPU_MAX_TOP_K:
            with self._gpu_lock:
                hits = self._gpu_index.search(queries, k)
        elif self.kind == "exact" and len(queries) < BLAS_BATCH:
            # FAISS scans for a single query on one core, BLAS on all: 15 ms against 5 ms.
            hits = exact_search(queries, self._all_vectors(), top_k=k, block=max(1, self.n_rows))
        else:
            hits = self._index.search(queries, k)
        return _padded(*hits, top_k=top_k)

    def visit_cells(self, n_probe: int) -> None:
        """Visit so many cells per query from now on; an exact index has none.

        Parameters
        ----------
        n_probe : int
            At least 1; fewer are faster and miss more.
        """
        if self.kind == "ivf":
            self._index.nprobe = min(n_probe, self._index.nlist)
            if self._gpu_index is not None:
                self._gpu_index.nprobe = self._index.nprobe

    def vectors(self, rows: IntArray) -> FloatArray:
        """Return the vectors of rows; of an approximate index rounded to float16.

        Parameters
        ----------
        rows : int64 of shape (n,)

        Returns
        -------
        float32 of shape (n, d)

        Raises
        ------
        ValueError
            If a row is not in the index.
        """
        if len(rows) and (rows.min() < 0 or rows.max() >= self.n_rows):
            raise ValueError(
                f"rows must be in [0, {self.n_rows}), got {rows.min()} to {rows.max()}"
            )
        with self._map_lock:
            # The cells of an approximate index are looked up by a table, made when first asked.
            if self.kind == "ivf" and self._index.direct_map.type == self._faiss.DirectMap.NoMap:
                self._index.make_direct_map()
        vectors: FloatArray = self._index.reconstruct_batch(rows)
        return vectors

    def save(self, path: Path) -> None:
        """Write the index to a file, whole or not at all.

        Raises
        ------
        StorageError
            If the file cannot be written.
        """
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            self._faiss.write_index(self._index, str(temporary))
            _flush(temporary)
            temporary.replace(path)
        except (RuntimeError, OSError) as error:
            temporary.unlink(missing_ok=True)
            raise StorageError(
                f"cannot write the search index {path} ({error}); free space or allow writing there"
            ) from error

    def _search_rows(
        self, queries: FloatArray, rows: IntArray, k: int
    ) -> tuple[FloatArray, IntArray]:
        is_gathered = len(queries) >= GATHER_BATCH or len(rows) <= GATHER_ROWS
        if self.kind == "exact" and is_gathered:
            return exact_search(queries, self._all_vectors(), top_k=k, rows=rows)
        selector = self._faiss.IDSelectorBitmap(_bitmap(rows, n_rows=self.n_rows))
        if self.kind == "exact":
            parameters = self._faiss.SearchParameters(sel=selector)
        else:
            parameters = self._faiss.SearchParametersIVF(sel=selector, nprobe=self._index.nlist)
        hits: tuple[FloatArray, IntArray] = self._index.search(queries, k, params=parameters)
        return hits

    def _all_vectors(self) -> FloatArray:
        """View of an exact index's vectors, without a copy."""
        values = self._faiss.rev_swig_ptr(self._index.get_xb(), self.n_rows * self.dimension)
        vectors: FloatArray = values.reshape(self.n_rows, self.dimension)
        return vectors


def build_ann_index(
    vectors: FloatArray | Float16Array,
    *,
    seed: int = 0,
    exact_limit: int = EXACT_LIMIT,
    use_gpu: bool | None = None,
) -> AnnIndex:
    """Build an index of unit vectors.

    Parameters
    ----------
    vectors : float32 or float16 of shape (n, d)
        Unit length; may be mapped from a file. An approximate index keeps them as float16.
    seed : int
        Of the sample and the k-means.
    exact_limit : int
        Up to so many rows every row is compared; above it, those of the nearest cells.
    use_gpu : bool, optional
        True demands a GPU, False forbids it, None uses one where FAISS sees one.

    Returns
    -------
    AnnIndex

    Raises
    ------
    ValueError
        If the input is not a matrix.
    InputError
        If `use_gpu` is True and FAISS sees no GPU.
    MissingExtraError
        If FAISS is not installed.
    """
    require_matrix("vectors", vectors)
    faiss = _faiss()
    if len(vectors) <= exact_limit:
        faiss_index = faiss.IndexFlatIP(vectors.shape[1])
    else:
        faiss_index = _trained_ivf(faiss, vectors, seed=seed)
    ann_index = AnnIndex(faiss_index, use_gpu=use_gpu)
    ann_index.add(vectors)
    return ann_index


def load_ann_index(path: Path, *, use_gpu: bool | None = None) -> AnnIndex:
    """Open a saved index; its vectors are mapped, not read (17 ms for 195 MB).

    Parameters
    ----------
    path : Path
    use_gpu : bool, optional
        As for `build_ann_index`.

    Returns
    -------
    AnnIndex

    Raises
    ------
    DamagedIndexError
        If there is no readable index.
    InputError
        If `use_gpu` is True and FAISS sees no GPU.
    MissingExtraError
        If FAISS is not installed.
    """
    faiss = _faiss()
    try:
        faiss_index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:  # a damaged length asks for terabytes
        raise DamagedIndexError(f"cannot read the search index {path}, rebuild it") from error
    if not isinstance(faiss_index, (faiss.IndexFlatIP, faiss.IndexIVFScalarQuantizer)):
        raise DamagedIndexError(f"{path} is no search index of this program, rebuild it")
    return AnnIndex(faiss_index, use_gpu=use_gpu, is_mapped=True)


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("faiss", extra="cpu", purpose="for fast search") from error
    faiss.cvar.distance_compute_blas_threshold = BLAS_BATCH
    faiss.cvar.distance_compute_blas_database_bs = BLAS_BLOCK_ROWS
    faiss.cvar.distance_compute_blas_query_bs = BLAS_BLOCK_QUERIES
    module: ModuleType = faiss
    return module


def _trained_ivf(faiss: ModuleType, vectors: FloatArray | Float16Array, *, seed: int) -> Any:
    """Empty index with about 2 sqrt(n) cells; twice as many train 4 times longer for no gain."""
    n_rows, dimension = vectors.shape
    n_list = min(n_rows, 2 ** round(math.log2(2 * math.sqrt(n_rows))))
    index = faiss.index_factory(dimension, f"IVF{n_list},SQfp16", faiss.METRIC_INNER_PRODUCT)
    # Stored as they are instead of as offsets from their cell, float16 vectors stay exact.
    index.by_residual = False
    index.cp.seed = seed
    index.cp.min_points_per_centroid = 1
    index.nprobe = min(N_PROBE, n_list)
    n_sample = min(n_rows, n_list * TRAINING_ROWS_PER_LIST)
    sample = np.random.default_rng(seed).choice(n_rows, n_sample, replace=False)
    index.train(np.ascontiguousarray(vectors[np.sort(sample)], dtype=np.float32))
    return index


def _copied_to_gpu(faiss: ModuleType, index: Any, *, use_gpu: bool | None) -> Any | None:
    if use_gpu is False:
        return None
    if faiss.get_num_gpus() == 0:
        if use_gpu:
            raise InputError('FAISS sees no GPU; run `pip install "isophote[gpu]"`, or use the CPU')
        return None
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), GPU_DEVICE, index)
    except RuntimeError as error:
        if use_gpu:
            raise InputError(f"the GPU cannot hold the index ({error}); use the CPU") from error
        logger.warning("searching on the CPU: the GPU cannot hold the index (%s)", error)
        return None


def _flush(path: Path) -> None:
    """Have the disk hold the file before it replaces an older one: a crash leaves no holes."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _bitmap(rows: IntArray, *, n_rows: int) -> ByteArray:
    if len(rows) and (rows.min() < 0 or rows.max() >= n_rows):
        raise ValueError(f"rows must be in [0, {n_rows}), got {rows.min()} to {rows.max()}")
    chosen = np.zeros(n_rows, dtype=np.bool_)
    chosen[rows] = True
    return np.packbits(chosen, bitorder="little")


def _padded(similarities: FloatArray, rows: IntArray, *, top_k: int) -> tuple[FloatArray, IntArray]:
    """Widen hits to top_k columns and mark missing ones in one way; FAISS uses -3.4e38."""
    if rows.shape[1] == top_k and rows.min(initial=0) >= 0:
        return similarities, rows
    missing = ((0, 0), (0, top_k - rows.shape[1]))
    all_rows = np.pad(rows, missing, constant_values=-1)
    widened = np.pad(similarities, missing)
    return np.where(all_rows < 0, np.float32(-np.inf), widened), all_rows
