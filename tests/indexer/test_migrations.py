import shutil
from pathlib import Path

import pytest

from indexer import migrations
from indexer.lock import writer_lock
from indexer.migrations import MIGRATIONS, pending_migrations
from indexer.store import StoredTables, open_store
from schemas.collection import SCHEMA_VERSION
from schemas.errors import LockedError, NewerSchemaError
from schemas.tables import images_schema


def test_there_is_a_step_from_every_released_version():
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_the_present_schema_needs_no_step():
    assert pending_migrations(SCHEMA_VERSION, where="/c") == []


def test_a_newer_schema_is_refused():
    expected = f"'/c' has schema version 7, this isophote reads up to {SCHEMA_VERSION}; upgrade"
    with pytest.raises(NewerSchemaError, match=expected):
        pending_migrations(7, where="/c")


def test_pending_steps_come_in_order(monkeypatch):
    def first(store):
        """1 to 2."""

    def second(store):
        """2 to 3."""

    monkeypatch.setattr(migrations, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(migrations, "MIGRATIONS", {2: second, 1: first})
    assert pending_migrations(1, where="/c") == [first, second]
    assert pending_migrations(2, where="/c") == [second]
    assert pending_migrations(3, where="/c") == []


def test_an_older_collection_is_brought_up_to_date_when_it_is_opened(tmp_path):
    place = _version_1(tmp_path)
    store = open_store(place)
    assert store.info.schema_version == SCHEMA_VERSION
    assert store.image_columns.names == images_schema(store.info.model).names
    assert store.images(["label"])["label"].to_pylist() == [None] * store.count_images()
    assert store.references().num_rows == 0


def test_a_migration_that_was_cut_short_is_finished(tmp_path, monkeypatch):
    place = _version_1(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(StoredTables, "add_columns", _crash)
        with pytest.raises(ZeroDivisionError, match="power cut"):
            open_store(place)
    store = open_store(place)
    assert store.image_columns.names == images_schema(store.info.model).names


def test_a_migration_waits_for_no_other_writer(tmp_path):
    place = _version_1(tmp_path)
    with writer_lock(Path(place)), pytest.raises(LockedError, match="is being written"):
        open_store(place)


def _crash(*_):
    raise ZeroDivisionError("power cut")


def _version_1(folder: Path) -> str:
    shutil.copytree(Path(__file__).parents[1] / "formats" / "v1", folder / "c")
    return str(folder / "c")
