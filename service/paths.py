"""Full paths of photos: of all rows of a table, and as other programs take them."""

import os
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexer.arrays import BoolArray
from indexer.scan import filesystem_path


def full_paths(table: pa.Table) -> pa.ChunkedArray:
    """Return what `indexer.scan.joined_path` makes of `root` and `path`, for all rows at once."""
    roots = pc.utf8_rtrim(table["root"], "/")
    joined = pc.binary_join_element_wise(roots, table["path"], "/")
    return pc.if_else(pc.equal(table["root"], ""), table["path"], joined)


def lies_below(table: pa.Table, folder: str) -> BoolArray:
    """Return which photos lie below a folder, a full stored path; bool (n,)."""
    inside = pc.starts_with(full_paths(table), f"{folder.rstrip('/')}/")
    return np.asarray(inside.to_numpy(), dtype=np.bool_)


def nul_separated(paths: Iterable[str]) -> bytes:
    """Return stored paths as the bytes the file system knows, each once and ended by NUL.

    As `xargs -0` reads them, in the order given.
    """
    return b"".join(os.fsencode(filesystem_path(path)) + b"\0" for path in dict.fromkeys(paths))
