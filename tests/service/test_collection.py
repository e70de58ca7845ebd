from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pytest

from indexer.ann import faiss_is_available
from indexer.encoders.encoder import Projectors
from indexer.preprocess import preprocessing_fingerprint
from indexer.settings import Settings
from indexer.spaces import projectors_digest
from indexer.store import disk_bytes
from schemas.collection import SCHEMA_VERSION, ModelSource
from schemas.errors import (
    CollectionNotFoundError,
    InputError,
    MismatchError,
    UnsupportedSpaceError,
)
from schemas.model import Band
from schemas.tables import ROOTS_SCHEMA
from service.collection import (
    Collection,
    collection_report,
    describe_collection,
    open_collection,
    refuse_mismatch,
    refuse_other_choice,
)
from tests.fakes import FAKE_DESCRIPTION, FEATURES, FakeEncoder
from tests.makers.stores import (
    BAND,
    NOON,
    collection_info,
    described,
    new_store,
    random_features,
)

SOURCE = ModelSource(model="fake", pretrained="made-up")


def opened(place):
    return open_collection(Settings(collection=str(place)))


def info_of(encoder, **changes):
    """A description that fits an encoder."""
    model = encoder.description
    return collection_info(
        model,
        encoder.projectors,
        weights_digest=encoder.weights_digest,
        preprocessing_fingerprint=preprocessing_fingerprint(model.preprocessing),
        **changes,
    )


@pytest.fixture
def place(tmp_path):
    new_store(tmp_path / "c", features=random_features(30))
    return tmp_path / "c"


# Opening


def test_opening_reads_the_description(place):
    collection = opened(place)
    assert collection.store.info == collection_info()
    assert collection.store.count_images() == 30


def test_opening_nothing_creates_nothing(tmp_path):
    with pytest.raises(CollectionNotFoundError, match="no collection at"):
        opened(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_was_given_is_used(place):
    encoder = FakeEncoder()
    collection = Collection(opened(place).store, Settings(collection=str(place)), encoder)
    assert collection.encoder is encoder


def test_galleries_are_opened_once_and_found_in(place):
    collection = opened(place)
    gallery = collection.gallery("clip")
    assert collection.gallery("clip") is gallery
    query = gallery.space_map.image_vectors(random_features(30)[12:13])[0]
    assert gallery.search(query, top_k=1)[1].tolist() == [12]


def test_a_space_the_model_cannot_serve_is_refused(tmp_path):
    new_store(tmp_path / "c", model=described(spaces=("clip", "trunk")))
    with pytest.raises(UnsupportedSpaceError, match="use clip or trunk"):
        opened(tmp_path / "c").gallery("isoclip")


# Describing and comparing


@pytest.mark.parametrize(
    ("published", "asked", "expected", "is_default"),
    [
        pytest.param(None, None, Band(k_top=3, k_bottom=1), True, id="default-of-rank-12"),
        pytest.param(BAND, None, BAND, False, id="published"),
        pytest.param(BAND, Band(k_top=5, k_bottom=0), Band(k_top=5, k_bottom=0), False, id="asked"),
    ],
)
def test_a_new_collection_is_described(published, asked, expected, is_default):
    encoder = FakeEncoder(described(band=published), digest="a" * 64)
    info = describe_collection(encoder, source=SOURCE, band=asked)
    assert (info.band, info.band_is_default) == (expected, is_default)
    assert (info.schema_version, info.source) == (SCHEMA_VERSION, SOURCE)
    assert (info.model, info.weights_digest) == (encoder.description, "a" * 64)
    assert info.projectors_digest == projectors_digest(encoder.projectors)
    assert info.isophote_version == version("isophote")
    assert info.created_at.tzinfo is not None
    refuse_mismatch(info, encoder, where="/c")


def test_a_band_that_leaves_nothing_is_refused():
    with pytest.raises(InputError, match="leaves nothing of rank 12"):
        describe_collection(FakeEncoder(), source=SOURCE, band=Band(k_top=6, k_bottom=6))


def other_weights():
    return FakeEncoder(digest="e" * 64)


def other_preprocessing():
    changed = {**FAKE_DESCRIPTION.require_preprocessing().model_dump(), "interpolation": "bicubic"}
    return FakeEncoder(described(preprocessing=changed))


def other_projectors():
    encoder = FakeEncoder()
    eye = np.eye(FEATURES, dtype=np.float32)
    encoder.projectors = Projectors(eye, 2 * eye)
    return encoder


@pytest.mark.parametrize(
    ("make_encoder", "what"),
    [
        (
            other_weights,
            r"other weights of model 'fake' \(ffffffffffffffff, now eeeeeeeeeeeeeeee\)",
        ),
        (other_preprocessing, "other preprocessing for model 'fake'"),
        (other_projectors, "other projectors of model 'fake'"),
    ],
)
def test_an_encoder_whose_vectors_would_not_fit_is_refused(make_encoder, what):
    with pytest.raises(MismatchError, match=f"'/c' was made with {what}.*into another"):
        refuse_mismatch(info_of(FakeEncoder()), make_encoder(), where="/c")


@pytest.mark.parametrize(
    ("source", "band", "message"),
    [
        pytest.param(
            ModelSource(model="other"),
            None,
            r"made with model 'fake' \(made-up\), not 'other'; leave out --model",
            id="model",
        ),
        pytest.param(
            ModelSource(model="fake", pretrained="else"), None, r"not 'fake' \(else\)", id="weights"
        ),
        pytest.param(
            SOURCE,
            Band(k_top=0, k_bottom=7),
            "made with band 2/1, not 0/7; leave out --band",
            id="band",
        ),
    ],
)
def test_another_choice_is_refused(source, band, message):
    with pytest.raises(MismatchError, match=message):
        refuse_other_choice(collection_info(source=SOURCE), source=source, band=band, where="/c")


def test_a_band_for_a_collection_without_one_is_refused():
    with pytest.raises(MismatchError, match="made with band none, not 2/1"):
        refuse_other_choice(collection_info(band=None), source=None, band=BAND, where="/c")


# Reports


def test_the_report_of_a_collection(place):
    collection = opened(place)
    collection.gallery("clip")
    report = collection_report(collection)
    assert (report.n_images, report.n_failures, report.roots) == (30, 0, [])
    assert report.info == collection.store.info
    assert report.n_bytes == disk_bytes(str(place)) > 0
    assert [cached.space for cached in report.ann] == (["clip"] if faiss_is_available() else [])
    assert report.model_dump_json()


def test_roots_are_reported(place):
    collection = opened(place)
    row = {"root": "/photos", "n_files": 30, "scanned_at": NOON}
    collection.store.record_roots(pa.Table.from_pylist([row], schema=ROOTS_SCHEMA))
    (root,) = collection_report(collection).roots
    assert root.model_dump() == row
