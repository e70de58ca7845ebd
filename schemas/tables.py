"""Arrow schemas of the tables of a collection."""

from collections.abc import Iterable

import pyarrow as pa

from schemas.model import ModelDescription, Space

UTC_TIME = pa.timestamp("us", tz="UTC")
CAMERA_TIME = pa.timestamp("us")
"""Without a zone: cameras write the wall clock of wherever they are."""


def space_dim(model: ModelDescription, space: Space) -> int:
    """Return the length of the vectors of a space."""
    return model.feature_dim if space == "trunk" else model.embedding_dim


def images_schema(model: ModelDescription) -> pa.Schema:
    """Return the schema of `images`: one row per photo.

    `root` and `path` (relative to it, `/` between parts) are the key; `image_id` is never
    reused, and the vectors under one id never change: an edited photo is a new image.
    `embedding` is unit length in the model's default image space. `features` are stored where a
    space needs them, `raw_embedding` where they do not give it. The fields of an anomaly score
    are null without a reference, those of a label without one.
    """
    return pa.schema([*_FILE_FIELDS, *_PHOTO_FIELDS, *_vector_fields(model), *_SCORE_FIELDS])


def imported_schema(model: ModelDescription, given: Iterable[pa.Field] = ()) -> pa.Schema:
    """Return the schema of `images` for vectors that were imported.

    As :func:`images_schema`, but null wherever nothing is known of a file, and followed by the
    columns that came with the vectors. `root` is empty; `path` is what the vectors call a photo.
    """
    fields = [
        field if field.name in _ALWAYS_KNOWN else field.with_nullable(nullable=True)
        for field in images_schema(model)
    ]
    return pa.schema([*fields, *given])


def _vector_fields(model: ModelDescription) -> list[pa.Field]:
    embedding_dim = space_dim(model, model.default_image_space)
    fields = [pa.field("embedding", pa.list_(pa.float16(), embedding_dim))]
    if model.needs_features:
        fields.insert(0, pa.field("features", pa.list_(pa.float16(), model.feature_dim)))
    if not model.linear_image_head:
        fields.append(pa.field("raw_embedding", pa.list_(pa.float16(), model.embedding_dim)))
    return fields


_ALWAYS_KNOWN = ("image_id", "root", "path", "indexed_at")

_FILE_FIELDS = [
    pa.field("image_id", pa.int64(), nullable=False),
    pa.field("root", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("content_hash", pa.string(), nullable=False),
    pa.field("file_size", pa.int64(), nullable=False),
    pa.field("mtime_ns", pa.int64(), nullable=False),
    pa.field("indexed_at", UTC_TIME, nullable=False),
]

_PHOTO_FIELDS = [
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("format", pa.string(), nullable=False),
    pa.field("frames", pa.int32(), nullable=False),
    pa.field("taken_at", CAMERA_TIME),
    pa.field("camera", pa.string()),
    pa.field("latitude", pa.float64()),
    pa.field("longitude", pa.float64()),
    pa.field("pixel_hash", pa.string(), nullable=False),
    pa.field("perceptual_hash", pa.int64(), nullable=False),
]

ANOMALY_FIELDS = [
    pa.field("anomaly_class", pa.string()),
    pa.field("anomaly_internal", pa.float32()),
    pa.field("anomaly_external", pa.float32()),
    pa.field("anomaly_words", pa.string()),
]
"""Why a photo has its anomaly score. `anomaly_words` are joined by "; "."""

LABEL_FIELDS = [pa.field("label", pa.string()), pa.field("label_confidence", pa.float32())]

PIXEL_FIELDS = [
    pa.field("coarse_sharpness", pa.float32()),
    pa.field("tonal_entropy", pa.float32()),
    pa.field("white_background", pa.float32()),
    pa.field("black_background", pa.float32()),
]
"""Pixel measures that schema version 1 did not have; null for photos it measured."""

VERSION_2_FIELDS = [*ANOMALY_FIELDS, *LABEL_FIELDS, *PIXEL_FIELDS]
"""Columns of `images` that schema version 2 added."""

VERSION_3_FIELDS = [pa.field("luma_thumbnail", pa.binary(32 * 32))]
"""Columns of `images` that schema version 3 added: the upright photo squashed to 32 x 32 bytes of
luma, row by row, by which copies are told from other photos of a scene; null for photos that were
indexed before."""

_SCORE_FIELDS = [
    pa.field("magnitude", pa.float32(), nullable=False),
    pa.field("quality_sim", pa.float32(), nullable=False),
    pa.field("quality_mag", pa.float32(), nullable=False),
    pa.field("quality", pa.float32(), nullable=False),
    pa.field("sharpness", pa.float32(), nullable=False),
    pa.field("contrast", pa.float32(), nullable=False),
    pa.field("brightness", pa.float32(), nullable=False),
    pa.field("shadows_clipped", pa.float32(), nullable=False),
    pa.field("highlights_clipped", pa.float32(), nullable=False),
    pa.field("noise", pa.float32(), nullable=False),
    pa.field("blockiness", pa.float32(), nullable=False),
    pa.field("jpeg_quality", pa.int16()),
    pa.field("anomaly", pa.float32()),
    pa.field("anomaly_reference", pa.string()),
    *VERSION_2_FIELDS,
    *VERSION_3_FIELDS,
]

FAILURES_SCHEMA = pa.schema(
    [
        pa.field("root", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("file_size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error_class", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("failed_at", UTC_TIME, nullable=False),
    ]
)
"""`failures`: one row per file that could not be indexed; retried when size or time change."""

ROOTS_SCHEMA = pa.schema(
    [
        pa.field("root", pa.string(), nullable=False),
        pa.field("n_files", pa.int64(), nullable=False),
        pa.field("scanned_at", UTC_TIME, nullable=False),
    ]
)
"""`roots`: how many candidate files each folder had when it was last scanned."""

REFERENCES_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("created_at", UTC_TIME, nullable=False),
        pa.field("is_active", pa.bool_(), nullable=False),
        pa.field("settings", pa.string(), nullable=False),
        pa.field("arrays", pa.large_binary(), nullable=False),
    ]
)
"""`references`: what is normal, for anomaly scores. `settings` is JSON, `arrays` an NPZ file. At
most one is active: the one the scores in `images` come from, and new photos are scored by."""

COLLECTION_SCHEMA = pa.schema(
    [
        pa.field("schema_version", pa.int32(), nullable=False),
        pa.field("info", pa.string(), nullable=False),
        pa.field("projectors", pa.binary(), nullable=False),
        pa.field("next_image_id", pa.int64(), nullable=False),
    ]
)
"""`collection`: one row. `info` is a CollectionInfo as JSON, `projectors` an NPZ file."""
