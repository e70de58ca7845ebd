"""The built-in model on the sample photos: what a person sees who tries Isophote first."""

import csv
from pathlib import Path

import pytest

from indexer.settings import Settings
from schemas.results import Hit
from service.collection import Collection, open_collection
from service.demo import run_demo
from service.duplicates.finding import find_duplicates
from service.indexing import index_photos
from service.quality import rank_quality
from service.search import PhotoFile, Query, Words, search

DATA = Path(__file__).parent.parent / "data"
PHOTOS = DATA / "photos"

pytestmark = pytest.mark.timeout(180)  # 141 photos through a real model, on a busy machine


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


LABELS = {row["path"]: row["label"] for row in rows("labels.csv")}
PLANTED = {row["planted"]: row for row in rows("labels.csv") if row["planted"]}
QUERIES = {row["text"]: row["label"] for row in rows("queries.csv")}

# The pairs of data/queries.csv, fixed before any model was run, for which a photo of another label
# comes first. A pair may leave this list when the model gets better; none may join it unseen.
KNOWN_MISSES = {
    "a photo of a horse",
    "a photo of a giraffe",
    "a photo of a monkey",
    "a photo of a rhinoceros",
    "a photo of a cathedral",
    "a photo of a bridge",
    "a photo of a pyramid",
    "a photo of scissors",
    "a photo of a mushroom",
    "a photo of an owl",
    "a photo of a hot air balloon",
    "the Eiffel Tower",
    "the Taj Mahal",
    "the Great Wall of China",
    "a photo of a leaf",
    "a photo of a bee",
    "a butterfly at a blue flower",
    "a decorated Christmas tree",
    "a red fire engine",
    "knives, forks and spoons",
    "an ancient Roman arena",
    "a wooden jetty on calm water",
    "a ladybird on a stem",
    "slices of orange and lime",
    "old coins in rows",
    "the hands of a clock",
    "the back of the eye seen by a doctor",
    "a rocket on the launch pad at night",
    "an astronaut in an orange suit",
    "a wall of bricks",
}


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    place = tmp_path_factory.mktemp("sample") / "collection"
    settings = Settings(collection=str(place))
    summary = index_photos([PHOTOS], settings=settings, report=lambda _: None)
    return summary, open_collection(settings)


@pytest.fixture(scope="module")
def collection(indexed):
    return indexed[1]


def relative(hit: Hit) -> str:
    return str(Path(hit.path).relative_to(PHOTOS))


def nearest(collection: Collection, photo: str, top_k: int = 1) -> list[Hit]:
    return search(collection, [Query(PhotoFile(PHOTOS / photo))], top_k=top_k).hits


def test_all_photos_are_indexed_but_for_the_two_planted_broken_ones(indexed):
    summary, _ = indexed
    assert summary.n_encoded == len(LABELS)
    assert {Path(failure.path).name: failure.reason for failure in summary.failures} == {
        "horse-cut-off.jpg": "is a damaged JPEG: image file is truncated (17 bytes not processed)",
        "not-a-photo.jpg": "is text, not an image",
    }


@pytest.mark.parametrize(
    ("kind", "least_similarity"),
    [("exact-copy", 0.999), ("rotated-exif", 0.99), ("resized", 0.8), ("blurred", 0.2)],
)
def test_a_planted_case_finds_its_original_first(collection, kind, least_similarity):
    (hit,) = nearest(collection, PLANTED[kind]["path"])
    assert relative(hit) == PLANTED[kind]["source"]
    assert hit.similarity >= least_similarity


def test_a_blurred_photo_has_a_lower_quality_than_its_original(collection):
    table = collection.store.images(["path", "quality"]).to_pylist()
    quality = {row["path"]: row["quality"] for row in table}
    assert quality[PLANTED["blurred"]["path"]] < 0.5 * quality[PLANTED["blurred"]["source"]]


def test_words_find_their_photos_first(collection):
    misses = set()
    for text, label in QUERIES.items():
        (hit,) = search(
            collection, [Query(Words(text))], top_k=1, where="path not like 'planted/%'"
        ).hits
        if LABELS[relative(hit)] != label:
            misses.add(text)
    assert misses <= KNOWN_MISSES
    assert len(QUERIES) - len(misses) >= 25


def test_photos_of_one_label_are_nearer_than_others_most_of_the_time(collection):
    """Leave one out over all labels with two photos or more; chance is about 2 in 100."""
    photos = [path for path in LABELS if not path.startswith("planted/")]
    shared = [path for path in photos if list(map(LABELS.get, photos)).count(LABELS[path]) > 1]
    hits = [nearest(collection, path, top_k=2) for path in shared]
    first = [next(hit for hit in pair if not relative(hit).startswith("planted/")) for pair in hits]
    right = sum(
        LABELS[relative(hit)] == LABELS[path] for hit, path in zip(first, shared, strict=True)
    )
    assert right / len(shared) >= 0.6


def test_the_lowest_quality_comes_first(collection):
    worst = rank_quality(collection, top_k=5).photos
    values = [photo.quality for photo in worst]
    assert values == sorted(values)
    assert values[0] == min(collection.store.images(["quality"])["quality"].to_pylist())


def test_the_demo_asks_one_question_of_each_kind(tmp_path):
    settings = Settings(collection=str(tmp_path / "collection"))
    demo = run_demo(DATA, settings=settings, report=lambda _: None)
    assert demo.summary.n_images == len(LABELS)
    assert relative(demo.similar.hits[0]) == PLANTED["exact-copy"]["path"]
    assert LABELS[relative(demo.similar.hits[1])] == "castle"
    assert len(demo.described.hits) == len(demo.lowest_quality) == 5
    assert demo.duplicates.n_copies == 4


def test_the_planted_copies_are_duplicates_and_no_other_photo_is(collection):
    listed = find_duplicates(collection, report=lambda _: None)
    found = {
        frozenset(
            Path(photo.path).relative_to(PHOTOS).as_posix()
            for photo in (group.keeper, *(copy.photo for copy in group.copies))
        )
        for group in listed.groups
    }
    copies = [row for row in PLANTED.values() if row["source"]]
    assert len(copies) == 4
    assert found == {frozenset((row["path"], row["source"])) for row in copies}
