"""Write the embeddings of captions as named embeddings, which other commands take as a file."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import compute

from indexer.arrays import IntArray
from indexer.ingest import IngestProgress
from indexer.store import Store, vectors_of
from schemas.errors import InputError
from schemas.exchange import ExportSummary
from service.collection import Collection
from service.exchange.array_writing import ArrayFiles
from service.exchange.exported_rows import BLOCK_ROWS
from service.exchange.vector_files import TEXT_COLUMN
from service.table_files import replaced_file

CAPTION_COLUMN = "caption"
"""Column of the captions in clip-retrieval's metadata."""


def export_captions(
    collection: Collection,
    target: Path,
    *,
    where: str | None = None,
    report: Callable[[IngestProgress], None],
) -> ExportSummary:
    """Write the captions that came with imported vectors, each once, as an NPZ file.

    It has `names` (n,), the captions, and `embeddings` float16 (n, d) of the length that they came
    with. Captions without an embedding are left out.

    Parameters
    ----------
    collection : Collection
    target : Path
        Ends with .npz; replaced when the new file is complete.
    where : str, optional
        SQL condition on the photos whose captions are written.
    report : callable
        Told the progress.

    Raises
    ------
    InputError
        If there are no such captions, or the file cannot be written.
    """
    started = time.monotonic()
    store = collection.store
    if target.suffix.lower() != ".npz":
        raise InputError(f"{target} is to hold embeddings with names; end its name with .npz")
    if not {CAPTION_COLUMN, TEXT_COLUMN} <= set(store.image_columns.names):
        raise InputError(
            f"the collection {store.uri!r} has no captions with embeddings; they come with a "
            "folder of clip-retrieval that has text_emb"
        )
    image_ids, width = _distinct_captions(store, where)
    dim = store.image_columns.field(TEXT_COLUMN).type.list_size
    with replaced_file(target) as file, ArrayFiles(target.parent, len(image_ids)) as arrays:
        arrays.add("names", dtype=np.dtype(f"U{width}"))
        arrays.add("embeddings", dtype=np.dtype(np.float16), width=(dim,))
        for first in range(0, len(image_ids), BLOCK_ROWS):
            block = image_ids[first : first + BLOCK_ROWS]
            rows = store.images_by_id(block, [CAPTION_COLUMN, TEXT_COLUMN])
            names = np.array(rows[CAPTION_COLUMN].to_pylist())
            arrays.append({"names": names, "embeddings": vectors_of(rows[TEXT_COLUMN])})
            report(IngestProgress(first + len(block), len(image_ids), 0))
        arrays.pack(file, values={})
    return ExportSummary(
        target=str(target),
        format="npz",
        n_images=len(image_ids),
        space="clip",
        dtype="float16",
        columns=("names", "embeddings"),
        n_bytes=target.stat().st_size,
        seconds=time.monotonic() - started,
    )


def _distinct_captions(store: Store, where: str | None) -> tuple[IntArray, int]:
    """Return the first photo of each caption, by id, and the characters of the longest."""
    has_both = f"{CAPTION_COLUMN} != '' AND {TEXT_COLUMN} IS NOT NULL"
    chosen = None if where is None else store.matching_ids(where)
    table = store.images(["image_id", CAPTION_COLUMN], has_both).sort_by("image_id")
    if chosen is not None:
        table = table.filter(compute.is_in(table["image_id"], value_set=pa.array(chosen)))
    if not len(table):
        raise InputError("no caption to export: no photo of the selection has one")
    captions = table[CAPTION_COLUMN].combine_chunks().dictionary_encode()
    _, first = np.unique(captions.indices.to_numpy(), return_index=True)
    image_ids = np.sort(np.asarray(table["image_id"], dtype=np.int64)[first])
    return image_ids, int(compute.max(compute.utf8_length(captions.dictionary)).as_py())
