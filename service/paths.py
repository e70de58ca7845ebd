"""Full paths of photos: of all rows of a table, and as other programs take them."""

import os
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from indexer.scan import filesystem_path


def full_paths(table: pa.Table) -> pa.ChunkedArray:
    """Return what `indexer.scan.joined_path` makes of `root` and `path`, for all rows at once."""
    roots = pc.utf8_rtrim(table["root"], "/")
    joined = pc.binary_join_element_wise(roots, table["path"], "/")
    return pc.if_else(pc.equal(table["root"], ""), table["path"], joined)


def nul_separated(paths: Iterable[str]) -> bytes:
    """Return stored paths as the bytes the file system knows, each once and ended by NUL.

    As `xargs -0` reads them, in the order given.
    """
    return b"".join(os.fsencode(filesystem_path(path)) + b"\0" for path in dict.fromkeys(paths))
