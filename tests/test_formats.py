"""A store of every released schema version still opens and answers."""

import shutil
from pathlib import Path

import pytest

from indexer.settings import Settings
from schemas.collection import SCHEMA_VERSION
from service.collection import Collection, collection_report, open_collection
from service.failures import list_failures
from service.search import parse_query, search
from tests.fakes import COLOURS, FakeEncoder

FORMATS = Path(__file__).parent / "formats"
VERSIONS = range(1, SCHEMA_VERSION + 1)


@pytest.fixture(params=VERSIONS)
def collection(request, tmp_path):
    """A copy: opening may migrate it, and searching writes its index beside it."""
    shutil.copytree(FORMATS / f"v{request.param}", tmp_path / "collection")
    opened = open_collection(Settings(collection=str(tmp_path / "collection")))
    return Collection(opened.store, opened.settings, FakeEncoder())


def test_there_is_a_store_of_every_version():
    assert {path.name for path in FORMATS.iterdir()} == {f"v{version}" for version in VERSIONS}


def test_an_old_store_still_answers(collection):
    found = search(collection, [parse_query("red")], top_k=6)
    assert Path(found.hits[0].path).name == "red.png"
    assert found.hits[0].similarity == pytest.approx(1, abs=1e-3)
    assert {Path(hit.path).stem for hit in found.hits} == set(COLOURS)


def test_an_old_store_still_tells_what_it_is(collection):
    report = collection_report(collection)
    assert (report.n_images, report.n_failures) == (6, 1)
    assert report.info.model.id == "fake"
    assert [failure.stage for failure in list_failures(collection).failures] == ["decode"]
