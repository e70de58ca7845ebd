import pytest

from indexer import migrations
from indexer.migrations import MIGRATIONS, pending_migrations
from indexer.store import Store, open_store
from schemas.collection import SCHEMA_VERSION
from schemas.errors import NewerSchemaError
from tests.makers.stores import new_store


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


def test_opening_an_older_collection_takes_the_steps(tmp_path, monkeypatch):
    migrated: list[Store] = []
    new_store(tmp_path / "c")
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(migrations, "MIGRATIONS", {1: migrated.append})
    assert migrated == [open_store(str(tmp_path / "c"))]
