"""The photos a collection holds, in some 130 bytes each, so that millions fit in memory.

Python objects would take 700. The columns stay arrays here; a place or a content is found by
binary search among 64-bit hashes, and what is found is compared itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from indexer.arrays import BoolArray, IntArray
from indexer.scan import ScannedFile

Key = tuple[str, str]
"""Root and path as stored."""

KNOWN_COLUMNS = ("root", "path", "image_id", "file_size", "mtime_ns", "content_hash")
"""What telling changes needs of the `images` table."""

# The last 128 bits of a SHA-256 tell any two photos apart.
DIGEST_CHARACTERS = 32

RowArray = npt.NDArray[np.int32]


class KnownImages:
    """Photos of a collection, numbered in no particular order; the numbers are called rows.

    Parameters
    ----------
    blocks : iterable of pa.RecordBatch
        KNOWN_COLUMNS of the `images` table.

    Attributes
    ----------
    image_ids, file_sizes, mtimes_ns : int64 of shape (n,)
        Columns of the table.
    contents : KnownContents
        Finds photos by their bytes.
    superseded : int64 of shape (m,)
        Rows whose key a newer row has as well: a run was killed between adding the new version
        of an edited photo and removing the old one.
    """

    def __init__(self, blocks: Iterable[pa.RecordBatch] = ()) -> None:
        codes: dict[str, int] = {}
        parts = [_Part.of(block, codes) for block in blocks]
        self._roots = list(codes)
        self._root_codes = _joined([part.root_codes for part in parts], np.int32)
        self._paths = pa.chunked_array([part.paths for part in parts], pa.string())
        self.image_ids: IntArray = _joined([part.image_ids for part in parts], np.int64)
        self.file_sizes: IntArray = _joined([part.file_sizes for part in parts], np.int64)
        self.mtimes_ns: IntArray = _joined([part.mtimes_ns for part in parts], np.int64)
        self.contents = KnownContents(
            _joined([part.digests for part in parts], np.int64).reshape(-1, 2), self.image_ids
        )
        key_hashes = _joined([part.key_hashes for part in parts], np.int64)
        self._places = _SortedHashes.of(key_hashes, self.image_ids)
        self.superseded = self._superseded()

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def roots(self) -> list[str]:
        """The roots that have photos."""
        return self._roots

    def key(self, row: int) -> Key:
        """Return the place of a photo."""
        return self._roots[self._root_codes[row]], self._paths[row].as_py()

    def is_like(self, row: int, file: ScannedFile) -> bool:
        """Return whether a file looks from outside as it did when it was indexed."""
        known = self.file_sizes[row], self.mtimes_ns[row]
        return bool(known == (file.size, file.mtime_ns))

    def row_at(self, key: Key) -> int | None:
        """Return the row of the photo at a place, the newest if there are several."""
        return self._places.last(hash(key), lambda row: self.key(row) == key)

    def rows_below(self, root: str, folder: str) -> IntArray:
        """Return the rows (int64, ascending) of a root in a folder, or at this very path.

        An empty `folder` stands for all of the root. Superseded rows are left out.
        """
        chosen: BoolArray = np.zeros(len(self), np.bool_)
        if root in self._roots:
            chosen = self._root_codes == self._roots.index(root)
            chosen[self.superseded] = False
        if folder:
            inside = pc.starts_with(self._paths, f"{folder}/")
            chosen &= pc.or_(inside, pc.equal(self._paths, folder)).to_numpy()
        return np.flatnonzero(chosen)

    def _superseded(self) -> IntArray:
        candidates = self._places.rows_like_the_next().tolist()
        older = [row for row in candidates if self.row_at(self.key(row)) != row]
        return np.array(older, dtype=np.int64)


class KnownContents:
    """Rows by the content hash of their photos. A container of content hashes.

    Reading from several threads is safe.
    """

    def __init__(self, digests: IntArray, image_ids: IntArray) -> None:
        self._checks = digests[:, 1].copy()
        self._hashes = _SortedHashes.of(digests[:, 0], image_ids)

    def __contains__(self, content_hash: object) -> bool:
        return isinstance(content_hash, str) and self._newest(content_hash) is not None

    def newest(self, content_hash: str) -> int:
        """Return the row of the newest photo that has these bytes.

        Raises
        ------
        ValueError
            If there is none.
        """
        row = self._newest(content_hash)
        if row is None:
            raise ValueError(f"no photo has the content hash {content_hash!r}")
        return row

    def is_at(self, row: int, content_hash: str) -> bool:
        """Return whether a photo has these bytes."""
        return bool(self._checks[row] == _digests([content_hash])[1])

    def _newest(self, content_hash: str) -> int | None:
        digest, check = _digests([content_hash]).tolist()
        return self._hashes.last(digest, lambda row: bool(self._checks[row] == check))


@dataclass(frozen=True, slots=True)
class _SortedHashes:
    """64-bit hashes in order, and the row of each; among equals, the newest photo comes last."""

    hashes: IntArray
    rows: RowArray

    @classmethod
    def of(cls, hashes: IntArray, image_ids: IntArray) -> "_SortedHashes":
        """Sort the hashes of all rows."""
        order = np.lexsort((image_ids, hashes))
        return cls(hashes[order], order.astype(np.int32))

    def last(self, value: int, is_meant: Callable[[int], bool]) -> int | None:
        """Return the last row of a hash that is meant, and not another with the same hash."""
        for place in range(int(self.hashes.searchsorted(value, "right")) - 1, -1, -1):
            if self.hashes[place] != value:
                return None
            if is_meant(row := int(self.rows[place])):
                return row
        return None

    def rows_like_the_next(self) -> IntArray:
        """Return the rows (int64) whose hash a newer row has as well."""
        is_like_next = self.hashes[:-1] == self.hashes[1:]
        return np.asarray(self.rows[:-1][is_like_next], np.int64)


@dataclass(frozen=True, slots=True)
class _Part:
    """A block of the table in its compact form."""

    root_codes: RowArray
    paths: pa.Array
    image_ids: IntArray
    file_sizes: IntArray
    mtimes_ns: IntArray
    digests: IntArray
    key_hashes: IntArray

    @classmethod
    def of(cls, block: pa.RecordBatch, codes: dict[str, int]) -> "_Part":
        """Take in a block; `codes` numbers the roots and is added to."""
        roots, paths = block["root"].to_pylist(), block["path"].to_pylist()
        return cls(
            root_codes=np.array([codes.setdefault(root, len(codes)) for root in roots], np.int32),
            # Copies: the arrays of a block may be views of a much larger buffer.
            paths=pa.array(paths, pa.string()),
            image_ids=np.array(block["image_id"], np.int64),
            file_sizes=np.array(block["file_size"], np.int64),
            mtimes_ns=np.array(block["mtime_ns"], np.int64),
            digests=_digests(block["content_hash"].to_pylist()),
            key_hashes=np.fromiter(map(hash, zip(roots, paths, strict=True)), np.int64, len(paths)),
        )


def _digests(content_hashes: Iterable[str]) -> IntArray:
    """Return the ends of SHA-256 hashes in hexadecimal, as two int64 each."""
    ends = "".join(content_hash[-DIGEST_CHARACTERS:] for content_hash in content_hashes)
    return np.frombuffer(bytes.fromhex(ends), np.int64)


def _joined(parts: list[Any], dtype: npt.DTypeLike) -> Any:
    return np.concatenate([np.empty(0, dtype), *parts])
