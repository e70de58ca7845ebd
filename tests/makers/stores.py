"""Collections filled with made-up rows, without any photo or encoder."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from indexer.arrays import FloatArray, IntArray
from indexer.encoders.encoder import Projectors
from indexer.known_images import KNOWN_COLUMNS
from indexer.rows import file_columns
from indexer.scan import ScannedFile
from indexer.spaces import projectors_digest, space_map
from indexer.store import Store, create_store
from schemas.collection import SCHEMA_VERSION, CollectionInfo, ModelSource
from schemas.model import Band, ModelDescription
from schemas.tables import images_schema
from tests.fakes import FAKE_DESCRIPTION, FEATURES, FakeEncoder

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
BAND = Band(k_top=2, k_bottom=1)


def described(**changes: Any) -> ModelDescription:
    """The fake encoder's description with other values."""
    return ModelDescription.model_validate({**FAKE_DESCRIPTION.model_dump(), **changes})


def random_projectors(
    *, embedding_dim: int = 8, with_biases: bool = False, seed: int = 5
) -> Any:  # Projectors; a test knows which of the arrays are None
    """Projectors from the fake encoder's features to an embedding of another length."""
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=(2, embedding_dim, FEATURES)).astype(np.float32)
    biases = generator.normal(size=(2, embedding_dim)).astype(np.float32)
    if not with_biases:
        return Projectors(weights[0], weights[1])
    return Projectors(weights[0], weights[1], biases[0], biases[1])


def collection_info(
    model: ModelDescription = FAKE_DESCRIPTION,
    projectors: Projectors | None = None,
    **changes: Any,
) -> CollectionInfo:
    """What a collection of a model says of itself."""
    described_as = {
        "schema_version": SCHEMA_VERSION,
        "source": ModelSource(model=model.id),
        "model": model,
        "weights_digest": "f" * 64,
        "preprocessing_fingerprint": "0" * 16,
        "projectors_digest": projectors_digest(projectors or FakeEncoder().projectors),
        "band": BAND,
        "band_is_default": False,
        "created_at": NOON,
        "isophote_version": "0.0",
    }
    return CollectionInfo.model_validate({**described_as, **changes})


def random_features(n_images: int, *, seed: int = 0, dimension: int = FEATURES) -> FloatArray:
    """Features around a mean that is not zero, in the precision of the store."""
    values = np.random.default_rng(seed).normal(0.5, 1.0, (n_images, dimension))
    return values.astype(np.float16).astype(np.float32)


def clustered_features(n_images: int, *, dimension: int, n_clusters: int = 40) -> FloatArray:
    """Features in clusters, as photos of one thing are."""
    generator = np.random.default_rng(1)
    centres = generator.normal(size=(n_clusters, dimension))
    members = centres[generator.integers(0, n_clusters, n_images)]
    features: FloatArray = (members + generator.normal(0, 0.4, members.shape)).astype(np.float32)
    return features


def image_rows(
    store: Store, features: FloatArray, *, first_id: int = 0, **columns: list[Any]
) -> pa.Table:
    """Rows of `images` that follow from their ids: `width` is 100 to 109, every other is a PNG.

    `columns` replaces what is made up otherwise.
    """
    image_ids = np.arange(first_id, first_id + len(features))
    values = {**_photo_columns(image_ids), **_vector_columns(store, features), **columns}
    return pa.table(
        [_column(values.get(field.name), field, len(features)) for field in _schema(store)],
        schema=_schema(store),
    )


def new_store(
    place: Path,
    *,
    model: ModelDescription = FAKE_DESCRIPTION,
    projectors: Projectors | None = None,
    features: FloatArray | None = None,
    **changes: Any,
) -> Store:
    """A collection with one row for each row of features; `changes` are those of its info."""
    projectors = projectors or FakeEncoder().projectors
    store = create_store(str(place), collection_info(model, projectors, **changes), projectors)
    if features is not None:
        store.append_images(image_rows(store, features))
    return store


def known_blocks(*files: ScannedFile, first_id: int = 0) -> list[pa.RecordBatch]:
    """What a collection knows of files that it has, each with bytes of its own."""
    numbers = range(first_id, first_id + len(files))
    rows = {
        **file_columns(files),
        "image_id": list(numbers),
        "content_hash": [f"{number:064x}" for number in numbers],
    }
    return pa.table({name: rows[name] for name in KNOWN_COLUMNS}).to_batches()


def _schema(store: Store) -> pa.Schema:
    return images_schema(store.info.model)


def _photo_columns(image_ids: IntArray) -> dict[str, Any]:
    ids = image_ids.tolist()
    return {
        "image_id": ids,
        "root": ["/photos"] * len(ids),
        "path": [f"{image_id:05}.jpg" for image_id in ids],
        "content_hash": [f"{image_id:064x}" for image_id in ids],
        "file_size": [1000 + image_id for image_id in ids],
        "mtime_ns": [image_id * 10**9 for image_id in ids],
        "indexed_at": [NOON] * len(ids),
        "width": [100 + image_id % 10 for image_id in ids],
        "format": [("JPEG", "PNG")[image_id % 2] for image_id in ids],
        "quality": [image_id / 1000 for image_id in ids],
    }


def _vector_columns(store: Store, features: FloatArray) -> dict[str, FloatArray]:
    model = store.info.model
    default = space_map(
        model.default_image_space,
        model=model,
        projectors=store.projectors,
        band=store.info.band,
    )
    raw_embeddings = features[:, : model.embedding_dim]
    stored = features if default.column == "features" else raw_embeddings
    return {
        "features": features,
        "embedding": default.image_vectors(stored),
        "raw_embedding": raw_embeddings,
    }


def _column(values: Any, field: pa.Field, n_rows: int) -> pa.Array:
    if pa.types.is_fixed_size_list(field.type):
        flat = pa.array(np.ravel(values).astype(np.float16))
        return pa.FixedSizeListArray.from_arrays(flat, field.type.list_size)
    if values is None and field.nullable:
        return pa.nulls(n_rows, field.type)
    if values is None:
        values = [""] * n_rows if field.type == pa.string() else [1] * n_rows
    return pa.array(values, field.type)
