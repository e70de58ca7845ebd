"""Open, create and compare collections."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from indexer.encoders.encoder import Encoder
from indexer.encoders.opening import open_encoder
from indexer.encoders.projected import ProjectingEncoder
from indexer.gallery import Gallery, ann_reports, open_gallery
from indexer.preprocess import preprocessing_fingerprint
from indexer.settings import Settings
from indexer.spaces import SpaceMap, projectors_digest, resolved_band, space_map
from indexer.store import Store, disk_bytes, open_store
from schemas.collection import SCHEMA_VERSION, CollectionInfo, ModelSource
from schemas.errors import MismatchError, UnknownModelError
from schemas.model import Band, Space
from schemas.results import CollectionReport, RootReport
from service.axes import AxesChoice, semantic_map


@dataclass(slots=True)
class Collection:
    """An open collection with what is needed to query it, each part opened when first used."""

    store: Store
    settings: Settings
    _encoder: Encoder | None = None
    _galleries: dict[tuple[Space, AxesChoice | None], Gallery] = field(default_factory=dict)

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
        if self._encoder is None:
            self._encoder = open_collection_encoder(self.store.info, self.settings)
        return self._encoder

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
        if key not in self._galleries:
            self._galleries[key] = open_gallery(self.store, self.space_map(space, axes))
        return self._galleries[key]


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
        n_failures=store.failures().num_rows,
        roots=[RootReport.model_validate(row) for row in store.roots().to_pylist()],
        ann=ann_reports(store),
        n_bytes=disk_bytes(store.uri),
    )


def _named(source: ModelSource | None) -> str:
    if source is None:
        return "unknown"
    return f"{source.model!r}" + (f" ({source.pretrained})" if source.pretrained else "")
