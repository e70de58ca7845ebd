"""Full paths of the photos of a table."""

import pyarrow as pa
import pyarrow.compute as pc


def full_paths(table: pa.Table) -> pa.ChunkedArray:
    """Return what `indexer.scan.joined_path` makes of `root` and `path`, for all rows at once."""
    roots = pc.utf8_rtrim(table["root"], "/")
    joined = pc.binary_join_element_wise(roots, table["path"], "/")
    return pc.if_else(pc.equal(table["root"], ""), table["path"], joined)
