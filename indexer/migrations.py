"""Numbered steps that bring a collection of an older release to the schema of this one."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from schemas.collection import SCHEMA_VERSION
from schemas.errors import NewerSchemaError

if TYPE_CHECKING:
    from indexer.store import Store

Migration = Callable[["Store"], None]

MIGRATIONS: dict[int, Migration] = {}
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
