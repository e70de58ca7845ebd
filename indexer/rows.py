"""Rows of the `images` table from prepared photos and what the encoder made of them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from indexer.arrays import Float16Array, FloatArray, IntArray
from indexer.encoders.encoder import EncodedImages, Encoder
from indexer.prepare import PreparedPhoto
from indexer.scan import ScannedFile
from indexer.scoring.pixel_quality import PIXEL_CUES, pixel_quality
from indexer.scoring.projection import project
from indexer.scoring.quality import (
    PROMPT_PAIRS,
    crop_means,
    fused_quality,
    magnitude,
    magnitude_quality,
    prompt_quality,
)
from indexer.spaces import SpaceMap, encoded_column, space_map
from schemas.collection import CollectionInfo
from schemas.tables import images_schema

AnomalyScorer = Callable[[FloatArray], Mapping[str, Any]]
"""Takes unit vectors (n, d) of the space `clip`; returns columns of `images`, n values each."""


class RowMaker:
    """Turns encoded batches into rows of one collection.

    Parameters
    ----------
    info : CollectionInfo
        Of the collection the rows are for.
    encoder : Encoder
        The model that encodes them; it encodes the ten quality prompts here, once.
    score_anomalies : AnomalyScorer, optional
        Gives the columns of an anomaly score; they are null without.
    """

    def __init__(
        self,
        info: CollectionInfo,
        encoder: Encoder,
        *,
        score_anomalies: AnomalyScorer | None = None,
    ) -> None:
        self._model = info.model
        self._score_anomalies = score_anomalies
        self._schema = images_schema(info.model)
        self._projectors = encoder.projectors
        self._default_map = space_map(
            info.model.default_image_space,
            model=info.model,
            projectors=encoder.projectors,
            band=info.band,
        )
        self._clip_map: SpaceMap | None = None
        if score_anomalies is not None:
            self._clip_map = space_map(
                "clip", model=info.model, projectors=encoder.projectors, band=info.band
            )
        self._good = self._prompt_embeddings(encoder, [good for good, _ in PROMPT_PAIRS])
        self._bad = self._prompt_embeddings(encoder, [bad for _, bad in PROMPT_PAIRS])

    def rows(
        self,
        photos: Sequence[PreparedPhoto],
        encoded: EncodedImages,
        *,
        image_ids: IntArray,
        indexed_at: datetime,
        crops: EncodedImages | None = None,
    ) -> pa.Table:
        """Return one row per photo, in order.

        Parameters
        ----------
        photos : sequence of n PreparedPhoto
        encoded : EncodedImages
            Of the same n photos.
        image_ids : int64 of shape (n,)
        indexed_at : datetime
            With a time zone.
        crops : EncodedImages, optional
            Of the crops of these photos, one after the other. The prompt cue, the magnitude cue
            and their fusion are then means over them; the magnitude stays that of the photo.
        """
        if not photos:
            return self._schema.empty_table()
        columns: dict[str, Any] = {
            "image_id": image_ids,
            "content_hash": [photo.content_hash for photo in photos],
            "indexed_at": [indexed_at] * len(photos),
            **file_columns([photo.file for photo in photos]),
            **{name: [photo.columns[name] for photo in photos] for name in photos[0].columns},
            **self._vector_columns(encoded),
        }
        cues = self._cues(encoded)
        if crops is not None:
            n_crops = np.array([0 if photo.crops is None else len(photo.crops) for photo in photos])
            cues = {name: crop_means(cue, n_crops) for name, cue in self._cues(crops).items()}
        columns |= {**cues, "magnitude": magnitude(self._raw_embeddings(encoded))}
        if self._model.quality_cue == "pixels":
            columns["quality"] = pixel_quality(
                {name: np.asarray(columns[name], np.float32) for name in PIXEL_CUES}
            )
        columns |= self._anomaly_columns(columns)
        return pa.table(
            [_arrow_column(columns.get(field.name), field, len(photos)) for field in self._schema],
            schema=self._schema,
        )

    def _vector_columns(self, encoded: EncodedImages) -> dict[str, Float16Array]:
        stored = encoded_column(encoded, self._default_map.column)
        vectors = {
            "features": encoded.features,
            "embedding": self._default_map.image_vectors(stored),
        }
        if encoded.raw_embeddings is not None:
            vectors["raw_embedding"] = encoded.raw_embeddings
        return {name: vector.astype(np.float16) for name, vector in vectors.items()}

    def _cues(self, encoded: EncodedImages) -> dict[str, FloatArray]:
        """Return the cues of one pass each."""
        raw = self._raw_embeddings(encoded)
        q_sim = prompt_quality(raw, self._good, self._bad, logit_scale=self._model.logit_scale)
        q_mag = magnitude_quality(raw)
        return {
            "quality_sim": q_sim,
            "quality_mag": q_mag,
            "quality": fused_quality(q_sim, q_mag),
        }

    def _anomaly_columns(self, vectors: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._score_anomalies is None or self._clip_map is None:
            return {}
        # From the stored precision, so that scoring the collection later gives the same.
        stored = vectors[self._clip_map.column].astype(np.float32)
        return self._score_anomalies(self._clip_map.image_vectors(stored))

    def _raw_embeddings(self, encoded: EncodedImages) -> FloatArray:
        if encoded.raw_embeddings is not None:
            return encoded.raw_embeddings
        weight = self._projectors.image_weight
        if weight is None:
            raise ValueError(f"{self._model.id} has neither image projector nor raw embeddings")
        return project(encoded.features, weight, self._projectors.image_bias)

    def _prompt_embeddings(self, encoder: Encoder, prompts: list[str]) -> FloatArray:
        features = encoder.encode_texts(prompts)
        return project(features, self._projectors.text_weight, self._projectors.text_bias)


def file_columns(files: Sequence[ScannedFile]) -> dict[str, list[Any]]:
    """Return the columns that say where files lie and how they looked from outside."""
    rows = [file_values(file) for file in files]
    return {name: [row[name] for row in rows] for name in _FILE_COLUMNS}


def file_values(file: ScannedFile) -> dict[str, Any]:
    """Return the same of one file, by column."""
    return dict(zip(_FILE_COLUMNS, (file.root, file.path, file.size, file.mtime_ns), strict=True))


_FILE_COLUMNS = ("root", "path", "file_size", "mtime_ns")


def _arrow_column(values: object, field: pa.Field, n_rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(n_rows, field.type)
    if pa.types.is_fixed_size_list(field.type):
        flat = pa.array(np.ascontiguousarray(values).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, field.type.list_size)
    return pa.array(values, field.type)
