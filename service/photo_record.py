"""All there is to know of one photo."""

from typing import Any

import numpy as np
import pyarrow as pa

from indexer.arrays import FloatArray
from indexer.scan import joined_path
from indexer.scoring.pixel_quality import PIXEL_CUES
from schemas.errors import UnknownPhotoError
from schemas.photos import AnomalyReason, PhotoRecord, QualityReason
from schemas.tables import images_schema
from service.anomalies import anomaly_of
from service.anomaly_references import scored_by
from service.collection import Collection
from service.photo_files import FILE_COLUMNS, IndexedFile, file_state
from service.quality import rated_photo

_TOLD = (
    "image_id",
    "width",
    "height",
    "format",
    "taken_at",
    "quality",
    "anomaly",
    "label",
    "file_size",
    "frames",
    "camera",
    "latitude",
    "longitude",
    "content_hash",
    "pixel_hash",
    "label_confidence",
    "indexed_at",
)

_MEASURES = ("magnitude", "quality_sim", "quality_mag", "jpeg_quality", *PIXEL_CUES)


def photo_record(collection: Collection, image_id: int) -> PhotoRecord:
    """Return what is known of a photo, and why it has its scores.

    Raises
    ------
    UnknownPhotoError
        If no photo has the id.
    """
    names = [field.name for field in collection.store.image_columns if _is_readable(field)]
    rows = collection.store.images_by_id(np.array([image_id], np.int64), names).to_pylist()
    if not rows:
        raise UnknownPhotoError(image_id)
    row = rows[0]
    return PhotoRecord(
        **{name: row[name] for name in _TOLD},
        path=joined_path(row["root"], row["path"]),
        folder=row["root"],
        file_state=file_state(IndexedFile(**{name: row[name] for name in FILE_COLUMNS})),
        quality_reason=_quality_reason(collection, image_id),
        anomaly_reason=_anomaly_reason(collection, image_id),
        measures={name: row[name] for name in _MEASURES if row[name] is not None},
        given=_given(collection, row),
    )


def _is_readable(field: pa.Field) -> bool:
    return not (
        pa.types.is_fixed_size_list(field.type) or pa.types.is_fixed_size_binary(field.type)
    )


def _given(collection: Collection, row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that came with imported vectors."""
    own = set(images_schema(collection.store.info.model).names)
    return {
        name: value if isinstance(value, str | int | float | bool | None) else str(value)
        for name, value in row.items()
        if name not in own
    }


def _quality_reason(collection: Collection, image_id: int) -> QualityReason | None:
    rated = rated_photo(collection, image_id)
    if rated is None:
        return None
    return QualityReason(
        quality=rated.quality,
        reason=rated.reason,
        cues=rated.cues,
        better_than=_share_below(rated.quality, _column(collection, "quality")),
    )


def _anomaly_reason(collection: Collection, image_id: int) -> AnomalyReason | None:
    found = anomaly_of(collection, image_id)
    if found is None:
        return None
    reference, photo = found
    condition = scored_by(reference)
    everyone = _column(collection, "anomaly", condition)
    return AnomalyReason(
        reference=reference,
        stranger_than=_share_below(photo.anomaly, everyone),
        **photo.model_dump(exclude={"image_id", "path"}),
    )


def _column(collection: Collection, name: str, where: str | None = None) -> FloatArray:
    values = collection.store.images([name], where)[name].cast(pa.float32())
    return np.asarray(values.drop_null().to_numpy(), np.float32)


def _share_below(value: float, everyone: FloatArray) -> float:
    return float(np.mean(everyone < np.float32(value))) if len(everyone) else 0.0
