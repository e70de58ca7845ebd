"""Index folders of photos: everything around the ingest run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.ann import faiss_is_available
from indexer.encoders.encoder import Encoder
from indexer.gallery import open_gallery
from indexer.ingest import IngestProgress, ingest
from indexer.lock import writer_lock
from indexer.scan import resolve_root, scan
from indexer.settings import Settings
from indexer.store import create_store, local_directory, open_store, store_exists
from schemas.collection import CollectionInfo, CropEdges, ModelSource, QualityMode
from schemas.errors import InputError, MismatchError
from schemas.model import Band
from schemas.results import IngestSummary
from service.collection import (
    Collection,
    describe_collection,
    open_collection,
    open_source,
    refuse_other_choice,
)

DEFAULT_MODEL = "pocket"

LOCAL_DIR = "local-dir:"

# From here on a brute-force scan inside the store takes longer than a tenth of a second.
STORE_INDEX_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class QualityChoice:
    """How the quality of a new collection is scored; None takes the default, or what there is."""

    mode: QualityMode | None = None
    edges: CropEdges | None = None


def index_photos(  # noqa: PLR0913 - what a new collection is made of, and how the run goes
    paths: Sequence[Path],
    *,
    settings: Settings,
    source: ModelSource | None = None,
    band: Band | None = None,
    quality: QualityChoice | None = None,
    confirm_deletions: bool = False,
    report: Callable[[IngestProgress], None],
) -> IngestSummary:
    """Bring a collection up to date with folders, and create it if there is none.

    Parameters
    ----------
    paths : sequence of Path
        Folders or photos; none means all folders that the collection knows.
    settings : Settings
    source : ModelSource, optional
        The model of a new collection; must be that of an existing one.
    band : Band, optional
        The band of a new collection's intra-modal projector.
    quality : QualityChoice, optional
        Quality mode of a new collection; must be that of an existing one.
    confirm_deletions : bool
        Remove missing files from the index even where more than half of a folder is missing.
    report : callable
        Told the progress.

    Raises
    ------
    IsophoteError
        Before anything is written if the input is at fault.
    """
    folders = [resolve_root(path) for path in paths]
    source = None if source is None else with_full_paths(source)
    uri = settings.collection
    new = None
    if not store_exists(uri):
        _refuse_without_photos(folders, uri)
        # Opened before anything is made: an unknown model must not leave an empty collection.
        new = _NewCollection.describe(
            source or ModelSource(model=DEFAULT_MODEL), band, quality or QualityChoice(), settings
        )
    else:
        # One of an older release is brought up to date, which takes the lock itself.
        refuse_imported(open_store(uri).info, uri)
    with writer_lock(local_directory(uri)):
        if new is not None and not store_exists(uri):
            collection = new.create(settings)
        else:
            collection = open_collection(settings)
            refuse_other_choice(collection.store.info, source=source, band=band, where=uri)
            _refuse_other_quality(collection.store.info, quality or QualityChoice(), where=uri)
            # Before rows are added: what the last run replaced is dropped at no cost now.
            collection.store.optimize()
        summary = ingest(
            folders,
            store=collection.store,
            open_encoder=lambda: collection.encoder,
            settings=settings,
            report=report,
            confirm_deletions=confirm_deletions,
        )
        tidy_up(collection, summary)
    return summary


def tidy_up(collection: Collection, summary: IngestSummary) -> None:
    """After a run, compact the collection and, if photos changed, build its search index."""
    if summary.interrupted:
        return
    collection.store.optimize()
    if summary.n_encoded + summary.n_reused + summary.n_deleted:
        refresh_search(collection, n_images=summary.n_images)


@dataclass(frozen=True, slots=True)
class _NewCollection:
    """What a collection that does not exist yet will be made of."""

    encoder: Encoder
    info: CollectionInfo

    @classmethod
    def describe(
        cls, source: ModelSource, band: Band | None, quality: QualityChoice, settings: Settings
    ) -> "_NewCollection":
        if quality.edges is not None and quality.mode != "crops":
            raise InputError(
                f"crop edges ({quality.edges}) are for the quality mode crops; "
                "add --quality-mode crops"
            )
        encoder = open_source(source, settings)
        info = describe_collection(encoder, source=source, band=band)
        chosen = {"quality_mode": quality.mode, "crop_edges": quality.edges}
        given = {name: value for name, value in chosen.items() if value is not None}
        return cls(encoder, info.model_copy(update=given))

    def create(self, settings: Settings) -> Collection:
        store = create_store(settings.collection, self.info, self.encoder.projectors)
        return Collection(store, settings, self.encoder)


def _refuse_other_quality(info: CollectionInfo, asked: QualityChoice, *, where: str) -> None:
    compared = (
        ("quality mode", asked.mode, info.quality_mode, "--quality-mode"),
        ("crop edges", asked.edges, info.crop_edges, "--crop-edges"),
    )
    for what, wanted, kept, option in compared:
        if wanted is not None and wanted != kept:
            raise MismatchError(
                f"the collection {where!r} was made with {what} {kept}, not {wanted}; leave out "
                f"{option}, or index into another --collection"
            )


def with_full_paths(source: ModelSource) -> ModelSource:
    """Return the source with full paths: the collection will be used from other folders."""
    prefix = LOCAL_DIR if source.model.startswith(LOCAL_DIR) else ""
    place = Path(source.model.removeprefix(prefix)).expanduser()
    model = f"{prefix}{place.resolve()}" if place.is_dir() else source.model
    checkpoint = Path(source.pretrained or "").expanduser()
    pretrained = str(checkpoint.resolve()) if checkpoint.is_file() else source.pretrained
    return ModelSource(model=model, pretrained=pretrained)


def refuse_imported(info: CollectionInfo, uri: str) -> None:
    """Refuse photos for a collection of imported vectors.

    Raises
    ------
    InputError
    """
    if info.origin == "vectors":
        raise InputError(
            f"the collection {uri!r} holds imported vectors and takes no photos; index them into "
            "another --collection"
        )


def _refuse_without_photos(folders: Sequence[Path], uri: str) -> None:
    if not folders:
        raise InputError(
            f"there is no collection at {uri!r} yet; name the folders to index, "
            "as in `isophote index ~/Pictures`"
        )
    if all(next(scan(folder), None) is None for folder in folders):
        named = ", ".join(map(str, folders))
        raise InputError(f"no photos in {named}; give a folder that holds photos")


def refresh_search(collection: Collection, *, n_images: int) -> None:
    """Build now what the first search would otherwise wait for."""
    if faiss_is_available():
        model = collection.store.info.model
        for space in dict.fromkeys([model.default_image_space, "clip"]):
            # Not `collection.gallery`, which keeps what it opened: the next batch of a watch needs
            # the gallery of the collection as it is then.
            open_gallery(collection.store, collection.space_map(space))
    elif n_images >= STORE_INDEX_ROWS:
        collection.store.build_vector_index()
