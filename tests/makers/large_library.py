"""A large library made of a small one: photos linked under new names, vectors moved a little."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from indexer.arrays import FloatArray
from indexer.scan import absolute_path
from indexer.scoring.similarity import normalised
from indexer.spaces import SpaceMap, space_map
from indexer.store import Store, create_store, open_store, vectors_of
from schemas.tables import ROOTS_SCHEMA

# How far a vector is moved, as a share of its length: copies stay neighbours of their original
# without being equal to it.
MOVED_SHARE = 0.3


def multiplied_library(source: Store, *, place: Path, n_images: int, seed: int) -> Store:
    """Make a collection of `n_images` photos out of one of fewer, with files to open.

    Copy k of a photo is a hard link below `place`/photos/k, with the row of its original but for
    its path, its vectors, and values in [0, 1] that are moved a little.

    Parameters
    ----------
    source : Store
        Of photos, on the file system of `place`.
    place : Path
        Folder for the photos and the collection, which must not have one yet.
    n_images : int
    seed : int
    """
    uri = str(place / "collection")
    store = create_store(uri, source.info, source.projectors)
    for block in _copies(source, place / "photos", n_images, np.random.default_rng(seed)):
        store.append_images(block)
    root = {
        "root": str(place / "photos"),
        "n_files": n_images,
        "scanned_at": source.info.created_at,
    }
    store.record_roots(pa.Table.from_pylist([root], schema=ROOTS_SCHEMA))
    store.optimize()
    return open_store(uri)


def _copies(
    source: Store, folder: Path, n_images: int, generator: np.random.Generator
) -> Iterator[pa.Table]:
    original = source.images(source.image_columns.names).sort_by("image_id")
    model = source.info.model
    image_map = space_map(
        model.default_image_space, model=model, projectors=source.projectors, band=source.info.band
    )
    for start in range(0, n_images, len(original)):
        rows = original.slice(0, min(len(original), n_images - start))
        yield _copy(rows, folder / str(start // len(original)), start, image_map, generator)


def _copy(
    rows: pa.Table,
    folder: Path,
    first_id: int,
    image_map: SpaceMap,
    generator: np.random.Generator,
) -> pa.Table:
    names = [
        _linked(root, path, folder)
        for root, path in zip(rows["root"].to_pylist(), rows["path"].to_pylist(), strict=True)
    ]
    features = vectors_of(rows["features"])
    if first_id:
        features = _moved(features, generator)
    changed = {
        "image_id": np.arange(first_id, first_id + len(rows)),
        "root": [str(folder.parent)] * len(rows),
        "path": [f"{folder.name}/{name}" for name in names],
        "quality": _jittered(rows["quality"], generator),
        "features": _lists(features, rows.schema.field("features").type),
        "embedding": _lists(image_map.image_vectors(features), rows.schema.field("embedding").type),
    }
    for name, values in changed.items():
        field = rows.schema.field(name)
        rows = rows.set_column(
            rows.schema.get_field_index(name), field, pa.array(values, field.type)
        )
    return rows


def _linked(root: str, path: str, folder: Path) -> str:
    name = path.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    os.link(absolute_path(root, path), folder / name)
    return name


def _moved(vectors: FloatArray, generator: np.random.Generator) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = normalised(generator.standard_normal(vectors.shape, dtype=np.float32))
    return np.asarray(vectors + np.float32(MOVED_SHARE) * lengths * directions, np.float32)


def _jittered(column: pa.ChunkedArray, generator: np.random.Generator) -> FloatArray:
    values = column.to_numpy().astype(np.float32)
    moved = values + generator.normal(0, 0.02, len(values)).astype(np.float32)
    return np.clip(moved, 0, 1)


def _lists(vectors: FloatArray, kind: pa.DataType) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(vectors, np.float16).reshape(-1), pa.float16())
    return pa.FixedSizeListArray.from_arrays(flat, kind.list_size).cast(kind)
