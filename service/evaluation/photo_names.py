"""Which photos of a collection the names in a file of a data set mean."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError


def rows_by_name(names: pa.Array, table: pa.Table, *, file: Path) -> pa.Array:
    """Return for each name the row of its photo, null where there is none.

    Names are matched as full paths, then relative to an indexed folder, then by file name alone,
    then by that in any case.

    Parameters
    ----------
    names : pa.Array of n strings
    table : pa.Table
        Photos, with the columns `root` and `path`.
    file : Path
        That has the names, for messages.

    Returns
    -------
    pa.Array of n int32

    Raises
    ------
    InputError
        If a name fits several photos.
    """
    wanted = pc.replace_substring_regex(names.cast(pa.string()), r"\\", "/")
    wanted = pc.replace_substring_regex(wanted, r"^(?:\./)+", "")
    paths = table["path"].combine_chunks()
    roots = pc.utf8_rtrim(table["root"].combine_chunks(), "/")
    full = pc.binary_join_element_wise(roots, paths, "/")
    rows = pa.nulls(len(wanted), pa.int32())
    for asked, keys in (
        (wanted, full),
        (wanted, paths),
        (_file_names(wanted), _file_names(paths)),
        (pc.utf8_lower(_file_names(wanted)), pc.utf8_lower(_file_names(paths))),
    ):
        missing = pc.if_else(pc.is_null(rows), asked, None)
        rows = pc.coalesce(rows, _unambiguous_rows(missing, keys, file=file))
    return rows


def _unambiguous_rows(names: pa.Array, keys: pa.Array, *, file: Path) -> pa.Array:
    asked = keys.filter(pc.is_in(keys, value_set=names.drop_null()))
    if len(asked) > pc.count_distinct(asked).as_py():
        counts = pc.value_counts(asked)
        several = counts.filter(pc.greater(counts.field("counts"), 1))
        raise InputError(
            f"{file} names {several[0]['values'].as_py()}, which fits "
            f"{several[0]['counts'].as_py()} photos of the collection; give full paths, or an "
            "image_id"
        )
    return pc.index_in(names, value_set=keys, skip_nulls=True)


def _file_names(paths: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(paths, r"^.*/", "")
