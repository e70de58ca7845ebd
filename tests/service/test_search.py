"""Search over a small collection of coloured pictures, whose similarities are known by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from indexer.settings import Settings
from indexer.store import create_store, local_directory
from schemas.errors import FilterError, InputError, UnknownModelError, UnsupportedSpaceError
from schemas.tables import imported_schema
from service.axes import AxesChoice
from service.collection import Collection
from service.search import (
    PhotoFile,
    Query,
    StoredPhoto,
    Words,
    parse_query,
    search,
    with_given_embeddings,
)
from service.texts import text_embeddings
from service.vectors import space_vectors
from tests.fakes import COLOURS, FAKE_DESCRIPTION, FEATURES, FakeEncoder
from tests.makers.libraries import indexed_colours
from tests.makers.stores import NOON, collection_info


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("photos")


@pytest.fixture(scope="module")
def collection(folder, tmp_path_factory):
    """Photos red, green, blue, yellow, white, black, in the order of their names."""
    return indexed_colours(folder, tmp_path_factory.mktemp("collection"))


def names(result) -> list[str]:
    return [Path(hit.path).stem for hit in result.hits]


def find(collection, *texts: str, minus: tuple[str, ...] = (), **options):
    queries = [parse_query(text) for text in texts]
    queries += [parse_query(text, sign=-1) for text in minus]
    return search(collection, queries, **options)


def test_words_find_the_photo_they_describe_with_its_cosine(collection):
    found = find(collection, "red", top_k=6)
    assert names(found)[0] == "red"
    similarity = {Path(hit.path).stem: hit.similarity for hit in found.hits}
    # Colours are corners of a cube: cosines of +-1 vectors that differ in 0, 1, 2, 3 places.
    assert similarity["red"] == pytest.approx(1.0, abs=1e-3)
    assert similarity["yellow"] == pytest.approx(1 / 3, abs=1e-3)
    assert similarity["blue"] == pytest.approx(-1 / 3, abs=1e-3)
    assert similarity["white"] == pytest.approx(-1 / 3, abs=1e-3)
    assert found.space == "clip"
    assert found.n_searched == 6


def test_hits_come_best_first_within_bounds(collection):
    hits = find(collection, "red", top_k=6).hits
    values = [hit.similarity for hit in hits]
    assert values == sorted(values, reverse=True)
    assert all(-1 <= value <= 1 for value in values)


def test_a_hit_tells_what_is_known_of_the_photo(collection, folder):
    hit = find(collection, "red", top_k=1).hits[0]
    assert hit.path == str(folder / "red.png")
    assert (hit.width, hit.height, hit.format, hit.taken_at) == (48, 32, "PNG", None)
    assert 0 <= hit.quality <= 1


def test_a_photo_of_the_collection_does_not_find_itself(collection, folder):
    by_path = find(collection, str(folder / "red.png"), top_k=6)
    red = find(collection, "red", top_k=1).hits[0].image_id
    by_id = find(collection, f"id:{red}", top_k=6)
    assert "red" not in names(by_path)
    assert len(by_path.hits) == 5
    assert by_id == by_path


def test_a_photo_finds_itself_when_asked(collection, folder):
    found = find(collection, str(folder / "red.png"), top_k=1, include_self=True)
    assert names(found) == ["red"]
    assert found.hits[0].similarity == pytest.approx(1.0, abs=1e-3)


def test_a_copy_elsewhere_finds_the_photo_it_was_made_of(collection, folder, tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes((folder / "red.png").read_bytes())
    assert names(find(collection, str(copy), top_k=1)) == ["red"]


def test_an_unchanged_indexed_photo_needs_no_encoder(collection, folder):
    encoder = collection.encoder
    before = encoder.n_encoded
    find(collection, str(folder / "red.png"))
    assert encoder.n_encoded == before


def test_an_edited_photo_is_encoded_anew_and_still_not_its_own_hit(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    collection = indexed_colours(photos, tmp_path / "collection")
    Image.new("RGB", (64, 64), COLOURS["blue"]).save(photos / "red.png")
    found = find(collection, str(photos / "red.png"), top_k=6)
    assert names(found)[0] == "blue"
    assert "red" not in names(found)


def test_weighted_queries_add_up(collection):
    assert names(find(collection, "red", "green^5", top_k=1)) == ["green"]
    assert names(find(collection, "red^5", "green", top_k=1)) == ["red"]


def test_minus_leads_away(collection):
    found = find(collection, "yellow", minus=("green",), top_k=1)
    assert names(found) == ["red"]


def test_words_and_photos_combine_in_the_clip_space(collection, folder):
    found = find(collection, "green^3", str(folder / "red.png"), top_k=1)
    assert found.space == "clip"
    assert names(found) == ["green"]


def test_queries_that_cancel_out_are_refused(collection):
    with pytest.raises(InputError, match="cancel out"):
        find(collection, "red", minus=("red",))


@pytest.mark.parametrize("space", ["clip", "isoclip", "trunk"])
def test_photos_are_compared_in_the_asked_space(collection, folder, space):
    found = find(collection, str(folder / "red.png"), space=space, top_k=5)
    assert found.space == space
    assert len(found.hits) == 5


def test_words_in_an_image_space_are_refused(collection):
    with pytest.raises(InputError, match=r"words cannot .* 'isoclip'; use --space clip"):
        find(collection, "red", space="isoclip")


def test_a_space_the_model_cannot_serve_is_refused(tmp_path):
    only_clip = FAKE_DESCRIPTION.model_copy(update={"spaces": ("clip",)})
    photos = tmp_path / "photos"
    photos.mkdir()
    collection = indexed_colours(photos, tmp_path / "collection", encoder=FakeEncoder(only_clip))
    with pytest.raises(UnsupportedSpaceError, match=r"'fake'.*'trunk'"):
        find(collection, "id:0", space="trunk")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        pytest.param("path like 'b%'", {"black", "blue"}, id="path"),
        pytest.param("width = 48 and path != 'red.png'", set(COLOURS) - {"red"}, id="two-columns"),
        pytest.param("width > 1000", set(), id="nothing"),
    ],
)
def test_a_filter_returns_all_that_match_it(collection, where, expected):
    assert set(names(find(collection, "red", where=where, top_k=10))) == expected


def test_a_filter_leaves_k_hits_beside_the_query_photo(collection, folder):
    found = find(collection, str(folder / "blue.png"), where="path like 'b%'", top_k=1)
    assert names(found) == ["black"]


@pytest.mark.parametrize(
    "where",
    ["nonsense >", "nope = 1", "width like 3", "'", "; drop table x", "width = $1", "width = ?"],
)
def test_a_filter_that_is_none_is_named(collection, where):
    with pytest.raises(FilterError) as caught:
        find(collection, "red", where=where)
    assert repr(where) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_hits_than_photos_are_all_photos(collection):
    assert len(find(collection, "red", top_k=10**15).hits) == 6


@pytest.mark.parametrize("top_k", [0, -3])
def test_fewer_than_one_hit_is_refused(collection, top_k):
    with pytest.raises(InputError, match=f"at least 1, got {top_k}"):
        find(collection, "red", top_k=top_k)


def test_nothing_to_search_for_is_refused(collection):
    with pytest.raises(InputError, match="nothing to search for"):
        find(collection, minus=("red",))


def test_an_unknown_id_is_named(collection):
    with pytest.raises(InputError, match="no photo has the id 999"):
        find(collection, "id:999")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"a shopping list", "is text, not an image", id="text"),
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\xff\xd8\xff\xe0 cut", "JPEG", id="damaged"),
    ],
)
def test_a_query_file_that_is_no_image_is_named(collection, tmp_path, content, reason):
    path = tmp_path / "query.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"query.jpg.*{reason}"):
        find(collection, str(path))


def test_rows_added_and_removed_since_are_respected(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    place = tmp_path / "collection"
    first = indexed_colours(photos, place)
    find(first, "red")
    Image.new("RGB", (48, 32), (250, 5, 5)).save(photos / "scarlet.png")
    (photos / "red.png").unlink()

    again = indexed_colours(photos, place)

    assert names(find(again, "red", top_k=6))[0] == "scarlet"
    assert "red" not in names(find(again, "red", top_k=6))


def test_without_faiss_the_store_gives_the_same_hits(collection, monkeypatch):
    expected = find(collection, "red", "green^0.3", top_k=6)
    monkeypatch.setattr("indexer.gallery.faiss_is_available", lambda: False)
    plain = Collection(collection.store, collection.settings, collection.encoder)
    found = find(plain, "red", "green^0.3", top_k=6)
    assert names(found) == names(expected)
    np.testing.assert_allclose(
        [hit.similarity for hit in found.hits],
        [hit.similarity for hit in expected.hits],
        atol=2e-3,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a dog", Query(Words("a dog")), id="words"),
        pytest.param("a dog^2", Query(Words("a dog"), 2.0), id="weighted"),
        pytest.param("a dog^.5", Query(Words("a dog"), 0.5), id="weighted-below-one"),
        pytest.param("x^2 and y", Query(Words("x^2 and y")), id="caret-inside"),
        pytest.param("id:17", Query(StoredPhoto(17)), id="id"),
        pytest.param("id:17^3", Query(StoredPhoto(17), 3.0), id="weighted-id"),
        pytest.param("id:card", Query(Words("id:card")), id="id-of-no-number"),
        pytest.param("text:holiday.jpg", Query(Words("holiday.jpg")), id="forced-words"),
        pytest.param("caf\udce9", Query(Words("caf\ufffd")), id="undecodable-byte"),
        pytest.param("a\0b", Query(Words("a\0b")), id="zero-byte"),
        pytest.param("Größe 36", Query(Words("Größe 36")), id="any-letters"),
    ],
)
def test_queries_are_read_as_typed(text, expected):
    assert parse_query(text) == expected


def test_minus_turns_the_weight(tmp_path):
    assert parse_query("a dog^2", sign=-1) == Query(Words("a dog"), -2.0)


def test_what_names_a_file_is_a_photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "square^2"):
        Path(name).touch()
    Path("beach").mkdir()
    assert parse_query("cat") == Query(PhotoFile(Path("cat")))
    assert parse_query("square^2") == Query(PhotoFile(Path("square^2")))
    assert parse_query("text:cat") == Query(Words("cat"))
    assert parse_query("beach") == Query(Words("beach"))  # a folder of that name says nothing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param("  ", "empty", id="blank"),
        pytest.param("dog^0", "weight 0", id="no-weight"),
        pytest.param("dog^" + "9" * 400, "weight inf", id="endless-weight"),
        pytest.param("text: ", "empty", id="no-words"),
        pytest.param("id:" + "9" * 30, "no photo has the id 9{30}", id="endless-id"),
        pytest.param("~nobody-of-that-name/a", "does not exist", id="unknown-home"),
        pytest.param("/" + "a" * 5000, "does not exist", id="endless-path"),
        pytest.param("/no/such/place", "/no/such/place does not exist", id="absolute"),
        pytest.param("holiday.jpeg", "holiday.jpeg does not exist", id="photo-name"),
        pytest.param("./", "is a folder", id="folder"),
    ],
)
def test_queries_that_mean_nothing_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_query(text)


def test_taken_at_can_be_filtered(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    image = Image.new("RGB", (48, 32), COLOURS["red"])
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2023:05:06 07:08:09"
    image.save(photos / "may.jpg", exif=exif)
    collection = indexed_colours(photos, tmp_path / "collection")
    found = find(collection, "red", where="taken_at > timestamp '2023-01-01'")
    assert [str(hit.taken_at) for hit in found.hits] == ["2023-05-06 07:08:09"]


# The semantic space


def red_and_green(tmp_path, **choice):
    """Axes of two names: theirs is the direction in which red and green differ."""
    path = tmp_path / "names.txt"
    path.write_text("red\ngreen\n")
    return AxesChoice(path, **choice)


def similarity_of(found):
    return {Path(hit.path).stem: hit.similarity for hit in found.hits}


@pytest.mark.parametrize("query", ["red", "id:{red}", "{folder}/red.png", "{copy}"])
def test_every_kind_of_query_is_compared_along_the_axes(collection, folder, tmp_path, query):
    copy = tmp_path / "copy.png"
    Image.new("RGB", (64, 64), COLOURS["red"]).save(copy)
    red = find(collection, "red", top_k=1).hits[0].image_id
    text = query.format(red=red, folder=folder, copy=copy)
    found = find(collection, text, space=red_and_green(tmp_path), include_self=True)
    assert found.space == "semantic"
    # More red than green is one side of the axis, more green the other; the rest lies across it.
    similarity = similarity_of(found)
    assert similarity["red"] == pytest.approx(1.0, abs=1e-3)
    assert similarity["green"] == pytest.approx(-1.0, abs=1e-3)


def test_words_of_the_default_axes_find_their_photo(collection, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(COLOURS))
    found = find(collection, "blue", space=AxesChoice(path, n_axes=3), top_k=1)
    assert names(found) == ["blue"]


def test_axes_compose_with_filters_weights_and_minus(collection, tmp_path):
    axes = red_and_green(tmp_path)
    only = find(collection, "red", space=axes, where="path like 'g%'", top_k=1)
    assert (names(only), only.n_searched) == (["green"], 1)
    assert names(find(collection, "red", "green^3", space=axes, top_k=1)) == ["green"]
    away = find(collection, "id:0", minus=("red^9",), space=axes, top_k=1)
    assert names(away) == ["green"]


def test_centred_words_are_compared_from_the_centre_of_words(collection, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(COLOURS))
    axes = AxesChoice(path, n_axes=2, is_centred=True)
    placed = collection.gallery("semantic", axes).space_map
    embeddings = text_embeddings(collection, ["red"]).astype(np.float64)
    expected = (embeddings - placed.text_centre) @ placed.axes.T
    expected /= np.linalg.norm(expected)
    ids, vectors = space_vectors(collection, placed)
    cosines = dict(zip(ids.tolist(), (vectors @ expected[0]).tolist(), strict=True))
    hits = find(collection, "red", space=axes, top_k=6).hits
    assert len(hits) == 6
    for hit in hits:
        assert hit.similarity == pytest.approx(cosines[hit.image_id], abs=1e-5)


def test_without_faiss_the_store_gives_the_same_semantic_hits(collection, tmp_path, monkeypatch):
    axes = red_and_green(tmp_path)
    expected = find(collection, "red", space=axes, top_k=2)
    monkeypatch.setattr("indexer.gallery.faiss_is_available", lambda: False)
    plain = Collection(collection.store, collection.settings, collection.encoder)
    found = find(plain, "red", space=axes, top_k=2)
    assert [hit.similarity for hit in found.hits] == pytest.approx(
        [hit.similarity for hit in expected.hits], abs=1e-5
    )


def test_searched_words_are_not_kept_on_disk(collection, tmp_path):
    find(collection, "red", space=red_and_green(tmp_path))
    texts = local_directory(collection.store.uri) / "texts"
    kept = sorted(texts.iterdir())
    find(collection, "never asked before", space=red_and_green(tmp_path))
    find(collection, "nor this")
    assert sorted(texts.iterdir()) == kept


# Collections of vectors only


@pytest.fixture
def imported(tmp_path):
    """Three vectors of an unknown model, with nothing known of the files."""
    model = FAKE_DESCRIPTION.model_copy(
        update={"spaces": ("clip",), "linear_image_head": False, "preprocessing": None}
    )
    info = collection_info(model, source=None, origin="vectors")
    columns = imported_schema(model)
    store = create_store(str(tmp_path / "c"), info, FakeEncoder().projectors, columns=columns)
    vectors = np.eye(FEATURES, dtype=np.float16)[:3].tolist()
    rows = [
        {"image_id": row, "root": "", "path": f"s3://b/{row}.jpg", "indexed_at": NOON}
        | {"embedding": vector, "raw_embedding": vector}
        for row, vector in enumerate(vectors)
    ]
    store.append_images(pa.Table.from_pylist(rows, schema=columns))
    return Collection(store, Settings(collection=store.uri))


@pytest.fixture
def given(tmp_path):
    """Embeddings of words: the first lies at the third photo."""
    path = tmp_path / "words.npz"
    embeddings = np.eye(FEATURES)[[2, 0, 5]] * 7
    np.savez(path, names=["a dog", "a cat", "a bee"], embeddings=embeddings)
    return path


def find_given(collection, given, *texts, **options):
    queries = with_given_embeddings(collection, [parse_query(text) for text in texts], given)
    return search(collection, queries, **options)


def test_imported_hits_tell_what_is_known(imported):
    found = find(imported, "id:1", top_k=1, include_self=True)
    (hit,) = found.hits
    assert (hit.path, hit.image_id) == ("s3://b/1.jpg", 1)
    assert (hit.quality, hit.width, hit.height, hit.format) == (None,) * 4


def test_given_embeddings_answer_for_words(imported, given):
    found = find_given(imported, given, "a dog", top_k=3)
    assert [hit.image_id for hit in found.hits][:1] == [2]
    assert found.hits[0].similarity == pytest.approx(1.0, abs=1e-6)
    mixed = find_given(imported, given, "a dog^0.5", "a cat", "id:1^0.1", top_k=3)
    assert [hit.image_id for hit in mixed.hits] == [0, 2]


def test_given_embeddings_answer_for_words_along_axes(imported, given):
    axes = AxesChoice(label_embeddings=given)
    found = find_given(imported, given, "a dog", space=axes, top_k=1)
    assert (found.space, [hit.image_id for hit in found.hits]) == ("semantic", [2])


def test_words_that_were_not_given_need_a_model(imported, given, collection):
    with pytest.raises(UnknownModelError, match="known by its vectors only"):
        find_given(imported, given, "a dog", "a horse")
    assert names(find_given(collection, given, "red", top_k=1)) == ["red"]


def test_photos_need_a_model(imported, folder):
    with pytest.raises(UnknownModelError, match="known by its vectors only"):
        find(imported, str(folder / "red.png"))


def test_words_in_an_image_space_are_refused_however_given(collection, given):
    with pytest.raises(InputError, match=r"words cannot .* 'trunk'; use --space clip or semantic"):
        find_given(collection, given, "a dog", space="trunk")
