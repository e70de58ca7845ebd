"""A first look: the sample photos indexed, and one example of each question."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from indexer.ingest import IngestProgress
from indexer.settings import Settings, default_collection
from schemas.duplicates import DuplicateList
from schemas.errors import InputError
from schemas.quality import RatedPhoto
from schemas.results import IngestSummary, SearchResult
from service.collection import open_collection
from service.duplicates.finding import find_duplicates
from service.indexing import index_photos
from service.quality import rank_quality
from service.search import PhotoFile, Query, Words, search

QUERY_PHOTO = Path("castle", "neuschwanstein.jpg")
QUERY_WORDS = "a castle by a lake"
SHOWN_HITS = 5


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo asked and what it was told."""

    summary: IngestSummary
    query_photo: Path
    similar: SearchResult
    query_words: str
    described: SearchResult
    duplicates: DuplicateList
    lowest_quality: list[RatedPhoto]


def run_demo(folder: Path, *, settings: Settings, report: Callable[[IngestProgress], None]) -> Demo:
    """Index the sample photos and ask one question of each kind.

    Parameters
    ----------
    folder : Path
        The `data` folder of a checkout.
    settings : Settings
        A collection of its own is used unless they name one.
    report : callable
        Told the progress of the ingest, and of the comparison after it.

    Raises
    ------
    InputError
        If the folder does not hold the sample photos.
    """
    photos = folder / "photos"
    query_photo = photos / QUERY_PHOTO
    if not query_photo.is_file():
        raise InputError(
            f"{folder} does not hold the sample photos; run `isophote demo` in a checkout of "
            "Isophote, or name its data folder"
        )
    if settings.collection == default_collection():
        settings = settings.model_copy(update={"collection": _demo_collection()})
    summary = index_photos([photos], settings=settings, report=report)
    collection = open_collection(settings)
    return Demo(
        summary=summary,
        query_photo=query_photo,
        similar=search(collection, [Query(PhotoFile(query_photo))], top_k=SHOWN_HITS),
        query_words=QUERY_WORDS,
        described=search(collection, [Query(Words(QUERY_WORDS))], top_k=SHOWN_HITS),
        duplicates=find_duplicates(collection, report=report),
        lowest_quality=rank_quality(collection, top_k=SHOWN_HITS).photos,
    )


def _demo_collection() -> str:
    # Apart from the user's own photos, which a demo must not mix with anything.
    return str(user_data_path("isophote", appauthor=False) / "demo")
