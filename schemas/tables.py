"""Arrow schemas of the tables of a collection."""

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
    `embedding` is unit length in the model's default image space.
    """
    embedding_dim = space_dim(model, model.default_image_space)
    vectors = [
        pa.field("features", pa.list_(pa.float16(), model.feature_dim)),
        pa.field("embedding", pa.list_(pa.float16(), embedding_dim)),
    ]
    if not model.linear_image_head:
        vectors.append(pa.field("raw_embedding", pa.list_(pa.float16(), model.embedding_dim)))
    return pa.schema([*_FILE_FIELDS, *_PHOTO_FIELDS, *vectors, *_SCORE_FIELDS])


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

COLLECTION_SCHEMA = pa.schema(
    [
        pa.field("schema_version", pa.int32(), nullable=False),
        pa.field("info", pa.string(), nullable=False),
        pa.field("projectors", pa.binary(), nullable=False),
        pa.field("next_image_id", pa.int64(), nullable=False),
    ]
)
"""`collection`: one row. `info` is a CollectionInfo as JSON, `projectors` an NPZ file."""
