"""Numbered steps that bring a collection of an older release to the schema of this one."""

from collections.abc import Callable, Sequence
from typing import Protocol

import pyarrow as pa

from schemas.collection import SCHEMA_VERSION
from schemas.errors import NewerSchemaError
from schemas.tables import REFERENCES_SCHEMA, VERSION_2_FIELDS, VERSION_3_FIELDS


class Tables(Protocol):
    """What a step may change. Each change must be safe to make again after a crash."""

    def add_columns(self, name: str, fields: Sequence[pa.Field]) -> None:
        """Add columns that are null in every row."""

    def create_table(self, name: str, schema: pa.Schema) -> None:
        """Make an empty table."""


Migration = Callable[[Tables], int]
"""Takes a step and returns the version it leads to."""


def _to_version_2(tables: Tables) -> int:
    """Make room for anomaly references, the reasons of anomaly scores, and labels."""
    tables.create_table("references", REFERENCES_SCHEMA)
    tables.add_columns("images", VERSION_2_FIELDS)
    return 2


def _to_version_3(tables: Tables) -> int:
    """Make room for the thumbnails that copies are told by."""
    tables.add_columns("images", VERSION_3_FIELDS)
    return 3


MIGRATIONS: dict[int, Migration] = {1: _to_version_2, 2: _to_version_3}
"""Step n brings schema n to n + 1. Version 1 is the first that was released."""


def pending_migrations(schema_version: int, *, where: str) -> list[Migration]:
    """Return the steps from a stored schema version to the present one, in order.

    Raises
    ------
    NewerSchemaError
        If the collection was written by a newer release.
    """
    if schema_version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"the collection {where!r} has schema version {schema_version}, this isophote reads "
            f"up to {SCHEMA_VERSION}; upgrade isophote, or index into another --collection"
        )
    return [MIGRATIONS[version] for version in range(schema_version, SCHEMA_VERSION)]
