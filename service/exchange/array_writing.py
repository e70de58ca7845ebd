"""NPY and NPZ files, written in blocks: the counterpart of `service.exchange.array_files`."""

import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt

# Zeros, which text is padded with, take no room; numbers hardly compress.
_TEXT_LEVEL = 1


def start_array(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write the header of an NPY file; the rows follow in C order."""
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, header)


class ArrayFiles:
    """Arrays that grow row by row, and become the members of one NPZ file.

    Each is a file in a temporary folder until then: a member of an archive must be written in one
    piece. Use it as a context; what is left of it is removed at its end.

    Parameters
    ----------
    place : Path
        Folder for the temporary one.
    n_rows : int
        Of every array.
    """

    def __init__(self, place: Path, n_rows: int) -> None:
        self._place = place
        self._n_rows = n_rows
        self._stack = ExitStack()
        self._folder = Path()
        self._files: dict[str, BinaryIO] = {}
        self._dtypes: dict[str, np.dtype[Any]] = {}

    def __enter__(self) -> "ArrayFiles":
        self._folder = Path(
            self._stack.enter_context(
                tempfile.TemporaryDirectory(prefix=".isophote-", dir=self._place)
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, name: str, *, dtype: np.dtype[Any], width: tuple[int, ...] = ()) -> None:
        """Begin an array; `width` is the shape of one row."""
        # A number, as a column's name need not be one of a file.
        path = self._folder / f"{len(self._files)}.npy"
        file = self._stack.enter_context(path.open("wb"))
        start_array(file, (self._n_rows, *width), dtype)
        self._files[name], self._dtypes[name] = file, dtype

    def append(self, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write the next rows of arrays that were begun."""
        for name, values in rows.items():
            self._files[name].write(values.astype(self._dtypes[name], order="C").tobytes())

    def pack(self, target: IO[bytes], *, values: Mapping[str, str]) -> None:
        """Write the NPZ file: all arrays, and single values of text."""
        with zipfile.ZipFile(target, "w") as archive:
            for (name, file), dtype in zip(self._files.items(), self._dtypes.values(), strict=True):
                file.close()
                method = zipfile.ZIP_DEFLATED if dtype.kind == "U" else zipfile.ZIP_STORED
                member = zipfile.ZipInfo(f"{name}.npy")
                member.compress_type = method
                with (
                    Path(file.name).open("rb") as source,
                    archive.open(member, "w", force_zip64=True) as sink,
                ):
                    shutil.copyfileobj(source, sink, 2**20)
            for name, text in values.items():
                with archive.open(f"{name}.npy", "w") as sink:
                    np.lib.format.write_array(sink, np.array(text), allow_pickle=False)
