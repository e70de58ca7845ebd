"""Open, create and compare collections."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from threading import RLock

import pyarrow as pa

from indexer.arrays import FloatArray, IntArray
from indexer.encoders.encoder import Encoder
from indexer.encoders.opening import open_encoder
from indexer.encoders.projected import ProjectingEncoder
from indexer.gallery import Gallery, ann_reports, open_gallery
from indexer.growing_gallery import caught_up
from indexer.preprocess import preprocessing_fingerprint
from indexer.settings import Settings
from indexer.spaces import SpaceMap, projectors_digest, resolved_band, space_map, text_vectors
from indexer.store import Store, disk_bytes, open_store
from schemas.collection import SCHEMA_VERSION, CollectionInfo, ModelSource
from schemas.errors import MismatchError, UnknownModelError
from schemas.model import Band, Space
from schemas.results import CollectionReport, RootReport
from service.axes import AxesChoice, semantic_map
from service.photo_table import COLUMNS, PhotoTable

GalleryKey = tuple[Space, AxesChoice | None]

REMEMBERED_TEXTS = 4096
"""At 512 dimensions their embeddings take 8 MB."""


@dataclass(slots=True)
class Collection:
    """An open collection with what is needed to query it, each part opened when first used.

    Any number of threads may ask it. `photo_table` has what lists show of photos in memory, for
    those who ask often; `open_gallery` opens the photos of a space.
    """

    store: Store
    settings: Settings
    _encoder: Encoder | None = None
    _galleries: dict[GalleryKey, Gallery] = field(default_factory=dict)
    photo_table: PhotoTable | None = None
    open_gallery: Callable[[Store, SpaceMap], Gallery] = open_gallery
    _opening: RLock = field(default_factory=RLock)
    _text_embedding: Callable[[str], FloatArray] | None = None

    @property
    def encoder(self) -> Encoder:
        """The collection's model.

        Raises
        ------
        ModelError, MissingExtraError
            If it cannot be opened.
        MismatchError
            If what opens under its name is not what embedded the photos.
        """
        with self._opening:
            if self._encoder is None:
                self._encoder = open_collection_encoder(self.store.info, self.settings)
            return self._encoder

    def text_embedding(self, text: str) -> FloatArray:
        """Return the unit embedding (1, d) of a text in the space `clip`; the last are kept.

        Raises
        ------
        ModelError, MissingExtraError, MismatchError
            If the model cannot be opened; see `encoder`.
        """
        if self._text_embedding is None:
            encoder, projectors = self.encoder, self.store.projectors

            @lru_cache(REMEMBERED_TEXTS)
            def embedded(text: str) -> FloatArray:
                return text_vectors(encoder.encode_texts([text]), projectors)

            self._text_embedding = embedded
        return self._text_embedding(text)

    def photos_by_id(self, image_ids: IntArray, columns: Sequence[str]) -> pa.Table:
        """Return columns of photos, in the order of the ids; unknown ids are left out."""
        if self.photo_table is not None and set(columns).issubset(COLUMNS):
            return self.photo_table.photos(image_ids, columns)
        return self.store.images_by_id(image_ids, columns)

    def count_images(self, where: str | None = None) -> int:
        """Return the number of photos, or of those that match a condition.

        Raises
        ------
        FilterError
            If the condition is not one.
        """
        if where is None and self.photo_table is not None:
            return len(self.photo_table)
        return self.store.count_images(where)

    def space_map(self, space: Space, axes: AxesChoice | None = None) -> SpaceMap:
        """Return how stored vectors come into a space.

        Parameters
        ----------
        space : Space
        axes : AxesChoice, optional
            Of the space `semantic`, the names of ImageNet-1k by default; others have none.

        Raises
        ------
        UnsupportedSpaceError
            If the model cannot serve the space.
        InputError
            If no axes can be made of the chosen names.
        """
        if space == "semantic":
            return semantic_map(self, axes or AxesChoice())
        info = self.store.info
        return space_map(space, model=info.model, projectors=self.store.projectors, band=info.band)

    def chosen_map(self, chosen: Space | AxesChoice | None) -> SpaceMap:
        """Return the map of a space, of the space `semantic` along axes, or of the model's best.

        Raises as :meth:`space_map`.
        """
        if isinstance(chosen, AxesChoice):
            return self.space_map("semantic", chosen)
        return self.space_map(chosen or self.store.info.model.default_image_space)

    def gallery(self, space: Space, axes: AxesChoice | None = None) -> Gallery:
        """Return the collection's photos in a space; see :meth:`space_map`.

        A gallery is opened once: of files with class names that change meanwhile, the first
        content counts.
        """
        key = (space, (axes or AxesChoice()) if space == "semantic" else None)
        # Whoever asks for one that is open does not wait while another is being opened.
        if key not in self._galleries:
            with self._opening:
                if key not in self._galleries:
                    placed = self.space_map(space, axes)
                    self._galleries[key] = self.open_gallery(self.store, placed)
        return self._galleries[key]

    def followed_by(self, photo_table: PhotoTable) -> "Collection":
        """Return the collection of the photos that there are now, with all that is open.

        Parameters
        ----------
        photo_table : PhotoTable
            The photos that there are now.
        """
        galleries = {
            key: caught_up(gallery, photo_table.image_ids)
            for key, gallery in self._galleries.copy().items()
        }
        return replace(self, photo_table=photo_table, _galleries=galleries)


def open_collection(settings: Settings) -> Collection:
    """Open the collection that the settings name.

    Raises
    ------
    CollectionNotFoundError, CollectionDamagedError, NewerSchemaError
        If there is none, or it cannot be read.
    """
    return Collection(open_store(settings.collection), settings)


def open_collection_encoder(info: CollectionInfo, settings: Settings) -> Encoder:
    """Open the model of a collection and compare it with what embedded the photos."""
    if info.source is None:
        raise UnknownModelError(
            f"the model {info.model.id!r} of this collection is known by its vectors only, so "
            "texts and photos cannot be embedded; ask with id:N, or give embeddings of the texts "
            "with --label-embeddings"
        )
    encoder = open_source(info.source, settings)
    refuse_mismatch(info, encoder, where=settings.collection)
    # Imported vectors are embeddings without features, whatever the image head of the model is.
    return encoder if info.model.needs_features else ProjectingEncoder(encoder)


def open_source(source: ModelSource, settings: Settings) -> Encoder:
    """Open a model on the device and with the threads of the settings."""
    return open_encoder(
        source.model,
        pretrained=source.pretrained,
        device=settings.device,
        n_threads=settings.encoder_threads or settings.threads,
    )


def describe_collection(
    encoder: Encoder, *, source: ModelSource, band: Band | None
) -> CollectionInfo:
    """Return the description of a new collection.

    Parameters
    ----------
    encoder : Encoder
    source : ModelSource
        What the encoder was opened from.
    band : Band, optional
        The user's own band for the intra-modal projector.
    """
    kept, is_default = resolved_band(encoder.description, encoder.projectors, asked=band)
    return CollectionInfo(
        schema_version=SCHEMA_VERSION,
        source=source,
        model=encoder.description,
        weights_digest=encoder.weights_digest,
        preprocessing_fingerprint=preprocessing_fingerprint(
            encoder.description.require_preprocessing()
        ),
        projectors_digest=projectors_digest(encoder.projectors),
        band=kept,
        band_is_default=is_default,
        created_at=datetime.now(UTC),
        isophote_version=version("isophote"),
    )


def refuse_mismatch(info: CollectionInfo, encoder: Encoder, *, where: str) -> None:
    """Refuse an encoder whose vectors would not fit those of the collection.

    Raises
    ------
    MismatchError
        Naming what differs, both values, and the way out.
    """
    fingerprint = preprocessing_fingerprint(encoder.description.require_preprocessing())
    compared = (
        ("weights of model", info.weights_digest, encoder.weights_digest),
        ("preprocessing for model", info.preprocessing_fingerprint, fingerprint),
        ("projectors of model", info.projectors_digest, projectors_digest(encoder.projectors)),
    )
    for what, stored, present in compared:
        if stored != present:
            raise MismatchError(
                f"the collection {where!r} was made with other {what} {info.model.id!r} "
                f"({stored[:16]}, now {present[:16]}); open the original model, or index the "
                "photos anew into another --collection"
            )


def refuse_other_choice(
    info: CollectionInfo, *, source: ModelSource | None, band: Band | None, where: str
) -> None:
    """Refuse a model or band that is not the one the collection was made with.

    Raises
    ------
    MismatchError
    """
    if source is not None and source != info.source:
        raise MismatchError(
            f"the collection {where!r} was made with model {_named(info.source)}, not "
            f"{_named(source)}; leave out --model, or index into another --collection"
        )
    if band is not None and band != info.band:
        kept = "none" if info.band is None else f"{info.band.k_top}/{info.band.k_bottom}"
        raise MismatchError(
            f"the collection {where!r} was made with band {kept}, not "
            f"{band.k_top}/{band.k_bottom}; leave out --band, or index into another --collection"
        )


def collection_report(collection: Collection) -> CollectionReport:
    """Return what there is to know of a collection without opening its model."""
    store = collection.store
    return CollectionReport(
        collection=store.uri,
        info=store.info,
        n_images=store.count_images(),
        n_failures=store.count_failures(),
        roots=[RootReport.model_validate(row) for row in store.roots().to_pylist()],
        ann=ann_reports(store),
        n_bytes=disk_bytes(store.uri),
    )


def _named(source: ModelSource | None) -> str:
    if source is None:
        return "unknown"
    return f"{source.model!r}" + (f" ({source.pretrained})" if source.pretrained else "")
