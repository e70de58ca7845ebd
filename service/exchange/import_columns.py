"""Where the columns that come with imported vectors go in a collection."""

import re
from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from pyarrow import compute

from schemas.errors import InputError
from schemas.model import ModelDescription
from schemas.tables import images_schema, imported_schema
from service.exchange.vector_files import Columns, VectorPart

PATH_COLUMNS = ("path", "image_path", "file_name", "url", "id", "ids", "names")
"""Columns that name a photo; the first that is there becomes `path`."""

DESCRIBING_COLUMNS = (
    "width",
    "height",
    "format",
    "taken_at",
    "camera",
    "latitude",
    "longitude",
    "label",
)
"""Columns of `images` that those of the same name fill, where their values can be converted."""

PREFIX = "given_"
"""Begins the name of a column whose own name is taken."""

ID_COLUMN = "image_id"

_OWN_COLUMNS = ("root", "path", "features", "embedding", "raw_embedding")
# LanceDB's own.
_RESERVED = ("_rowid", "_rowaddr", "_rowoffset", "_distance", "_score", "_relevance_score")


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """What becomes of each column of a source.

    `path` and `image_id` are names of given columns, None where there is none. `fills` leads from
    columns of `images` to given ones, `added` from new columns to given ones. `types` are those
    of the given columns.
    """

    path: str | None
    image_id: str | None
    fills: Mapping[str, str]
    added: Mapping[str, str]
    types: Mapping[str, pa.DataType]

    @property
    def added_fields(self) -> list[pa.Field]:
        """Fields of the new columns."""
        return [pa.field(name, self.types[given]) for name, given in self.added.items()]

    @property
    def renamed(self) -> dict[str, str]:
        """Given names that are others in the collection."""
        renamed = {given: name for name, given in self.added.items() if given != name}
        if self.path not in (None, "path"):
            renamed[str(self.path)] = "path"
        return renamed

    def without_fills(self, misfits: Names[str]) -> "ColumnPlan":
        """Return the plan with columns of their own for those whose values cannot be converted."""
        fills = {name: given for name, given in self.fills.items() if name not in misfits}
        moved = {
            _free_name(given, self.added): given
            for name, given in self.fills.items()
            if name in misfits
        }
        return replace(self, fills=fills, added={**self.added, **moved})

    def without_ids(self) -> "ColumnPlan":
        """Return the plan with a column of its own for ids that cannot be kept."""
        if self.image_id is None:
            return self
        moved = {_free_name(self.image_id, self.added): self.image_id}
        return replace(self, image_id=None, added={**self.added, **moved})


def planned_columns(parts: Sequence[VectorPart], *, id_column: str | None = None) -> ColumnPlan:
    """Decide what becomes of the columns of all parts.

    Parameters
    ----------
    parts : sequence of VectorPart
        A column need not be in all of them.
    id_column : str, optional
        Names the photos; else the first of `PATH_COLUMNS`.

    Raises
    ------
    InputError
        If there is no column `id_column`, or parts have columns that cannot be brought together.
    """
    given = _united([part.columns for part in parts])
    types = {field.name: field.type for field in given}
    if id_column is not None and id_column not in types:
        known = ", ".join(types) or "none"
        raise InputError(f"there is no column {id_column!r} to name the photos; there are: {known}")
    path = id_column or next((name for name in PATH_COLUMNS if name in types), None)
    is_own_export = all(part.mark for part in parts)
    fillable = _OWN_FILLABLE if is_own_export else DESCRIBING_COLUMNS
    has_ids = path != ID_COLUMN and pa.types.is_integer(types.get(ID_COLUMN, pa.null()))
    image_id = ID_COLUMN if has_ids else None
    fills = {name: name for name in types if name in fillable and name != path}
    added: dict[str, str] = {}
    for name in types:
        if name not in (path, image_id, *fills):
            added[_free_name(name, added)] = name
    return ColumnPlan(path, image_id, fills, added, types)


def import_schema(plan: ColumnPlan, model: ModelDescription) -> pa.Schema:
    """Return the schema of `images` of a collection made by an import."""
    return imported_schema(model, plan.added_fields)


def misfits(plan: ColumnPlan, columns: Columns) -> set[str]:
    """Return the columns of `images` that given values cannot be converted to."""
    return {
        name
        for name, given in plan.fills.items()
        if given in columns and not _is_convertible(columns[given], _OURS[name])
    }


def placed_columns(plan: ColumnPlan, columns: Columns, schema: pa.Schema) -> dict[str, pa.Array]:
    """Return given values under the names and types of a collection.

    Raises
    ------
    InputError
        If a value cannot be converted to the type of a column that is there already.
    """
    placed = {}
    for name, given in {**plan.fills, **plan.added}.items():
        if given in columns:
            placed[name] = _converted_column(columns[given], schema.field(name).type, name)
    return placed


def _converted_column(column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    try:
        return converted(column, kind)
    except pa.ArrowException as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"a value of the column {name!r} does not fit the type {kind} that it has in the "
            f"collection ({reason}); import into another --collection"
        ) from error


def converted(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return the values as another type; NaN, which stands for no value in pandas, is null."""
    if pa.types.is_floating(column.type) and not pa.types.is_floating(kind):
        column = compute.if_else(compute.is_nan(column), None, column)
    return column if column.type == kind else column.cast(kind)


def _is_convertible(column: pa.Array, kind: pa.DataType) -> bool:
    try:
        converted(column, kind)
    except pa.ArrowException:
        return False
    return True


def _united(schemas: Sequence[pa.Schema]) -> pa.Schema:
    try:
        return pa.unify_schemas(
            [schema.remove_metadata() for schema in schemas], promote_options="permissive"
        )
    except pa.ArrowException as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"the parts have columns that do not go together ({reason}); import them one by one"
        ) from error


def _free_name(given: str, taken: Mapping[str, Any]) -> str:
    """Return a name that a new column can have; names that differ in case only are one."""
    name = re.sub(r"[.\x00-\x1f]", "_", given) or "column"
    used = {*_OURS, *_OWN_COLUMNS, ID_COLUMN, *_RESERVED, *taken}
    lowered = {other.lower() for other in used}
    while name.lower() in lowered:
        name = PREFIX + name
    return name


def _our_fields() -> dict[str, pa.DataType]:
    # Those of any model; vectors are left out.
    model = ModelDescription(
        id="",
        family="",
        feature_dim=1,
        text_feature_dim=1,
        embedding_dim=1,
        logit_scale=1,
        preprocessing=None,
        default_image_space="clip",
    )
    return {field.name: field.type for field in images_schema(model)}


_OURS = _our_fields()
_OWN_FILLABLE = tuple(name for name in _OURS if name not in (ID_COLUMN, *_OWN_COLUMNS))
