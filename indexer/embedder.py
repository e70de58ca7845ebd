"""From prepared photos to rows: full batches through the encoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from indexer.arrays import BoolArray, IntArray
from indexer.encoders.encoder import EncodedImages, Encoder
from indexer.prepare import PreparedPhoto
from indexer.rows import AnomalyScorer, RowMaker
from indexer.settings import Settings
from schemas.collection import CollectionInfo

# Crops that may wait for a batch of photos: 300 MB of 224 x 224. Only a GPU's batches reach it.
_MAX_WAITING_CROPS = 2048


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Rows of the photos of one forward pass, and those whose features are not finite."""

    table: pa.Table
    photos: list[PreparedPhoto]
    unusable: list[PreparedPhoto]


class Embedder:
    """Collects prepared photos into batches and makes rows of them.

    Parameters
    ----------
    info : CollectionInfo
    open_encoder : callable
        Called with the first photo.
    settings : Settings
        For the photos per forward pass.
    score_anomalies : AnomalyScorer, optional
        See :class:`indexer.rows.RowMaker`.
    """

    def __init__(
        self,
        info: CollectionInfo,
        open_encoder: Callable[[], Encoder],
        settings: Settings,
        *,
        score_anomalies: AnomalyScorer | None = None,
    ) -> None:
        self._score_anomalies = score_anomalies
        self._info = info
        self._open_encoder = open_encoder
        self._settings = settings
        self._waiting: list[PreparedPhoto] = []
        self._opened: tuple[Encoder, RowMaker] | None = None

    def add(self, photo: PreparedPhoto) -> bool:
        """Add a photo; return whether a batch is full."""
        self._waiting.append(photo)
        encoder, _ = self._open()
        n_crops = sum(_n_crops(waiting) for waiting in self._waiting)
        return len(self._waiting) >= self._batch_size(encoder) or n_crops >= _MAX_WAITING_CROPS

    def rows(self, new_image_ids: Callable[[int], IntArray]) -> EncodedBatch | None:
        """Encode and score the photos that wait; None if there are none."""
        photos, self._waiting = self._waiting, []
        if not photos:
            return None
        encoder, row_maker = self._open()
        encoded = encoder.encode_images(np.stack([photo.pixels for photo in photos]))
        crops = self._encoded_crops(encoder, photos)
        photo_of_crop = np.repeat(np.arange(len(photos)), [_n_crops(photo) for photo in photos])
        finite = _is_storable(encoded)
        if crops is not None:
            finite[photo_of_crop[~_is_storable(crops)]] = False
            crops = crops.take(np.flatnonzero(finite[photo_of_crop]))
        usable, unusable = np.flatnonzero(finite), np.flatnonzero(~finite)
        good = [photos[row] for row in usable]
        table = row_maker.rows(
            good,
            encoded.take(usable),
            image_ids=new_image_ids(len(good)),
            indexed_at=datetime.now(UTC),
            crops=crops,
        )
        return EncodedBatch(table, good, [photos[row] for row in unusable])

    def _batch_size(self, encoder: Encoder) -> int:
        return self._settings.gpu_batch_size if encoder.on_gpu else self._settings.batch_size

    def _encoded_crops(
        self, encoder: Encoder, photos: Sequence[PreparedPhoto]
    ) -> EncodedImages | None:
        """Encode the crops of all photos in one sequence of full batches."""
        crops = [crop for photo in photos if photo.crops is not None for crop in photo.crops]
        size = self._batch_size(encoder)
        batches = [
            encoder.encode_images(np.stack(crops[start : start + size]))
            for start in range(0, len(crops), size)
        ]
        return EncodedImages.concatenated(batches) if batches else None

    def _open(self) -> tuple[Encoder, RowMaker]:
        if self._opened is None:
            encoder = self._open_encoder()
            self._opened = (
                encoder,
                RowMaker(self._info, encoder, score_anomalies=self._score_anomalies),
            )
        return self._opened


def _n_crops(photo: PreparedPhoto) -> int:
    return 0 if photo.crops is None else len(photo.crops)


def _is_storable(encoded: EncodedImages) -> BoolArray:
    """Return which photos have finite vectors in float16, in which they are stored."""
    storable: BoolArray = np.ones(len(encoded.features), np.bool_)
    with np.errstate(over="ignore"):
        for vectors in (encoded.features, encoded.raw_embeddings):
            if vectors is not None:
                storable &= np.isfinite(vectors.astype(np.float16)).all(axis=1)
    return storable
