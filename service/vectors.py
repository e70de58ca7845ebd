"""Vectors in one space, as arrays: of the photos of a collection, and of files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexer.arrays import FloatArray, IntArray
from indexer.gallery import centred
from indexer.prepare import prepare_query
from indexer.spaces import SpaceMap, encoded_column
from schemas.errors import InputError, PhotoError

if TYPE_CHECKING:
    from service.collection import Collection


def space_vectors(
    collection: "Collection", space_map: SpaceMap, *, where: str | None = None
) -> tuple[IntArray, FloatArray]:
    """Return the photos of a collection in a space.

    Parameters
    ----------
    collection : Collection
    space_map : SpaceMap
        Centred at the whole collection, whatever `where` selects, if it asks for a centre.
    where : str, optional
        SQL condition on the columns of `images`.

    Returns
    -------
    image_ids : int64 of shape (n,)
        Ascending.
    vectors : float32 of shape (n, d)
        Unit length.

    Raises
    ------
    FilterError
        If the condition is not one.
    """
    placed = centred(space_map, collection.store) if space_map.centre is None else space_map
    ids, vectors = [np.empty(0, np.int64)], []
    for image_ids, stored in collection.store.vector_blocks(space_map.column, where):
        ids.append(image_ids)
        vectors.append(placed.image_vectors(stored))
    if not vectors:
        vectors.append(np.empty((0, _width(collection, placed)), np.float32))
    image_ids = np.concatenate(ids)
    order = np.argsort(image_ids)
    return image_ids[order], np.concatenate(vectors)[order]


def encoded_vectors(
    collection: "Collection", paths: Sequence[Path], space_map: SpaceMap
) -> FloatArray:
    """Encode photos that need not be in the collection into a space.

    Parameters
    ----------
    collection : Collection
    paths : sequence of Path
    space_map : SpaceMap
        With its centre, if it has one.

    Returns
    -------
    float32 of shape (n, d)
        Unit length.

    Raises
    ------
    InputError
        If a photo cannot be read or decoded, or the collection's model is unknown.
    """
    n_per_pass = collection.settings.batch_size
    blocks = [
        _encoded_block(collection, paths[start : start + n_per_pass], space_map)
        for start in range(0, len(paths), n_per_pass)
    ]
    return np.concatenate([np.empty((0, _width(collection, space_map)), np.float32), *blocks])


def _encoded_block(
    collection: "Collection", paths: Sequence[Path], space_map: SpaceMap
) -> FloatArray:
    preprocessing = collection.store.info.model.require_preprocessing()
    pixels = []
    for path in paths:
        try:
            prepared = prepare_query(
                path, preprocessing=preprocessing, max_pixels=collection.settings.max_pixels
            )
        except PhotoError as error:
            raise InputError(f"{path} {error.reason}; give a photo") from error
        pixels.append(prepared)
    encoded = collection.encoder.encode_images(np.stack(pixels))
    return space_map.image_vectors(encoded_column(encoded, space_map.column))


def _width(collection: "Collection", space_map: SpaceMap) -> int:
    model = collection.store.info.model
    stored = model.feature_dim if space_map.column == "features" else model.embedding_dim
    width: int = space_map.image_vectors(np.zeros((1, stored), np.float32)).shape[1]
    return width
