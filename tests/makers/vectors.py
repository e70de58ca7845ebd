"""Files of vectors as other programs write them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from indexer.arrays import FloatArray
from indexer.scoring.similarity import normalised


def raw_vectors(n_rows: int, *, dim: int = 6, seed: int = 0) -> FloatArray:
    """Vectors of several lengths, exact in float16."""
    values = np.random.default_rng(seed).normal(0.5, 1.0, (n_rows, dim))
    return values.astype(np.float16).astype(np.float32)


def unit_vectors(n_rows: int, *, dim: int = 6, seed: int = 0) -> FloatArray:
    """Vectors of length 1, rounded to float16."""
    return normalised(raw_vectors(n_rows, dim=dim, seed=seed)).astype(np.float16).astype("f4")


def vector_lists(vectors: FloatArray) -> pa.Array:
    """Vectors as a column of Parquet."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


def clip_retrieval_folder(
    folder: Path,
    vectors: FloatArray,
    *,
    part_rows: int,
    texts: FloatArray | None = None,
    **columns: list[Any],
) -> Path:
    """Write a folder as clip-retrieval's `OutputSink` does, in parts of so many rows."""
    starts = range(0, len(vectors), part_rows)
    for kind in ("img_emb", "metadata", *(["text_emb"] if texts is not None else [])):
        (folder / kind).mkdir(parents=True)
    for number, start in enumerate(starts):
        rows = slice(start, start + part_rows)
        name = str(number).zfill(len(str(len(starts) - 1)))
        np.save(folder / "img_emb" / f"img_emb_{name}.npy", vectors[rows].astype(np.float16))
        if texts is not None:
            np.save(folder / "text_emb" / f"text_emb_{name}.npy", texts[rows].astype(np.float16))
        table = pa.table({name: values[rows] for name, values in columns.items()})
        parquet.write_table(table, folder / "metadata" / f"metadata_{name}.parquet")
    return folder
