"""Arrays in NPY and NPZ files, read in blocks: a file larger than memory is no reason to fail.

NumPy reads a member of an NPZ file whole. Objects are never unpickled.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from schemas.errors import InputError

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array in a file, with what its header says."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    open: Callable[[], IO[bytes]]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, or of one value of a vector."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def blocks(self, block_rows: int) -> Iterator[npt.NDArray[Any]]:
        """Yield all rows in blocks of `block_rows`, the last one shorter.

        Raises
        ------
        InputError
            If the file ends early.
        """
        with self.open() as file:
            _read_header(file, self.name)
            for start in range(0, self.shape[0], block_rows):
                n_rows = min(block_rows, self.shape[0] - start)
                content = file.read(n_rows * self.row_bytes)
                if len(content) < n_rows * self.row_bytes:
                    n_whole = start + len(content) // max(self.row_bytes, 1)
                    raise InputError(
                        f"{self.name} ends after {n_whole:,} of {self.shape[0]:,} rows; it was "
                        "not written or copied to its end"
                    )
                flat = np.frombuffer(content, self.dtype)
                yield flat.astype(self.dtype.newbyteorder("=")).reshape(n_rows, *self.shape[1:])

    def whole(self) -> npt.NDArray[Any]:
        """Return all of it, also where it is a single value."""
        with self.open() as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def stored_array(path: Path) -> StoredArray:
    """Return what an NPY file holds.

    Raises
    ------
    InputError
        If it is none, or holds Python objects.
    """
    with array_errors(path), path.open("rb") as file:
        shape, dtype = _read_header(file, str(path))
    return StoredArray(str(path), shape, dtype, lambda: path.open("rb"))


def stored_arrays(path: Path) -> dict[str, StoredArray]:
    """Return what an NPZ file holds, by name.

    Raises
    ------
    InputError
        If it is none, or holds Python objects.
    """
    with array_errors(path), zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        return {
            member.removesuffix(".npy"): _stored_member(archive, path, member) for member in members
        }


@contextmanager
def array_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file of arrays into errors that name it.

    Raises
    ------
    InputError
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} is damaged or no file of arrays ({error}); write it with numpy.save or "
            "numpy.savez"
        ) from error


def _stored_member(archive: zipfile.ZipFile, path: Path, member: str) -> StoredArray:
    name = f"{member.removesuffix('.npy')} of {path}"
    with archive.open(member) as file:
        shape, dtype = _read_header(file, name)
    return StoredArray(name, shape, dtype, lambda: _open_member(path, member))


def _open_member(path: Path, member: str) -> IO[bytes]:
    # The member keeps the archive's file open until it is closed itself.
    with zipfile.ZipFile(path) as archive:
        return archive.open(member)


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the NPY format")
    shape, is_by_column, dtype = _HEADERS[version](file)
    if dtype.hasobject or dtype.names is not None:
        raise InputError(
            f"{name} holds Python objects or records, which are not read; save plain numbers or "
            "text, as in numpy.asarray(values, dtype=str)"
        )
    if is_by_column and len(shape) > 1:
        raise InputError(
            f"{name} is stored column by column; save numpy.ascontiguousarray(...) of it"
        )
    return shape, dtype
