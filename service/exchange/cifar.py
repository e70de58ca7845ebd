"""CIFAR-10 and CIFAR-100 in their original files, the version for Python and the binary one.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009;
https://www.cs.toronto.edu/~kriz/cifar.html says what the files hold. The version for Python is
pickled: it is read without running what else a pickle can name.
"""

import io
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from indexer.arrays import ByteArray, IntArray
from schemas.errors import InputError

CifarKind = Literal["cifar10", "cifar100"]
CifarSplit = Literal["train", "test"]

SIDE = 32
PICTURE_BYTES = 3 * SIDE * SIDE

# The largest, CIFAR-100's `train`, has 155 MB.
MAX_FILE_BYTES = 2**29


@dataclass(frozen=True, slots=True)
class CifarFile:
    """The pictures of one file.

    `pixels` is uint8 (n, 32, 32, 3) sRGB, `labels` int64 (n,), rows of the names. For CIFAR-100,
    whose labels are the fine ones, `coarse_labels` is the same for the coarse ones. `first_number`
    is that of the first picture among those of its split.
    """

    path: Path
    split: CifarSplit
    first_number: int
    pixels: ByteArray
    labels: IntArray
    coarse_labels: IntArray | None = None


@dataclass(frozen=True, slots=True)
class Cifar:
    """A folder of CIFAR files. `coarse_names` is empty for CIFAR-10."""

    kind: CifarKind
    folder: Path
    is_binary: bool
    names: tuple[str, ...]
    coarse_names: tuple[str, ...]

    def files(self, splits: Sequence[CifarSplit]) -> Iterator[CifarFile]:
        """Read the files of some splits, one at a time.

        Raises
        ------
        InputError
            If a file is missing, damaged, or holds something else.
        """
        for split in splits:
            first_number = 0
            for name in _FILES[self.kind][split]:
                path = self.folder / (f"{name}.bin" if self.is_binary else name)
                read = self._read_binary if self.is_binary else self._read_pickled
                pixels, labels, coarse = read(path)
                yield CifarFile(
                    path=path,
                    split=split,
                    first_number=first_number,
                    pixels=pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1),
                    labels=_checked_labels(labels, len(self.names), path),
                    coarse_labels=None
                    if coarse is None
                    else _checked_labels(coarse, len(self.coarse_names), path),
                )
                first_number += len(labels)

    def _read_binary(self, path: Path) -> tuple[ByteArray, IntArray, IntArray | None]:
        n_labels = 1 if self.kind == "cifar10" else 2
        record = n_labels + PICTURE_BYTES
        content = _content(path)
        if len(content) % record or not content:
            raise InputError(
                f"{path} has {len(content):,} bytes, which are no records of {record:,}; "
                "unpack the archive again"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, record)
        labels = records[:, :n_labels].astype(np.int64)
        coarse = labels[:, 0] if n_labels > 1 else None
        return records[:, n_labels:], labels[:, -1], coarse

    def _read_pickled(self, path: Path) -> tuple[ByteArray, IntArray, IntArray | None]:
        batch = _unpickled(path)
        pixels = batch.get(b"data")
        if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (PICTURE_BYTES,):
            raise InputError(
                f"{path} holds no pictures of 32 x 32; give the folder of an unpacked CIFAR archive"
            )
        if self.kind == "cifar10":
            return pixels, _label_list(batch, b"labels", pixels, path), None
        fine = _label_list(batch, b"fine_labels", pixels, path)
        return pixels, fine, _label_list(batch, b"coarse_labels", pixels, path)


def open_cifar(folder: Path, *, kind: CifarKind) -> Cifar:
    """Find the files of CIFAR in a folder, or in the one that the archive unpacks to below it.

    Raises
    ------
    InputError
        If they are not there.
    """
    below = [folder / name for name in _FOLDERS[kind]]
    for place in [folder, *below]:
        for is_binary in (False, True):
            found = _opened(place, kind, is_binary=is_binary)
            if found is not None:
                return found
    names = " or ".join(_NAME_FILES[kind])
    raise InputError(
        f"{folder} holds no {kind.upper().replace('CIFAR', 'CIFAR-')}: there is no {names}; give "
        "the folder of an unpacked CIFAR archive"
    )


def _opened(place: Path, kind: CifarKind, *, is_binary: bool) -> Cifar | None:
    if is_binary:
        files = [place / name for name in _BINARY_NAME_FILES[kind]]
        if not files[0].is_file():
            return None
        names = [tuple(_content(file).decode("utf-8", "replace").split()) for file in files]
    else:
        path = place / _PICKLED_NAME_FILES[kind]
        if not path.is_file():
            return None
        meta = _unpickled(path)
        names = [_name_list(meta, key, path) for key in _NAME_KEYS[kind]]
    coarse_names = names[1] if len(names) > 1 else ()
    return Cifar(kind, place, is_binary, names[0], coarse_names)


def _unpickled(path: Path) -> dict[bytes, Any]:
    """Read a pickled dictionary of arrays, lists and bytes; whatever else it names is refused."""
    try:
        content = _RestrictedUnpickler(io.BytesIO(_content(path)), encoding="bytes").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError("it holds no dictionary")
        # Written by Python 3 the keys are text.
        return {
            key.encode() if isinstance(key, str) else key: _plain(part)
            for key, part in content.items()
        }
    except _UNPICKLING_ERRORS as error:
        raise InputError(
            f"{path} is not one of the original files of CIFAR ({error}); nothing in it was run"
        ) from error


def _plain(part: Any) -> Any:
    return part.pixels() if isinstance(part, _PickledArray) else part


class _RestrictedUnpickler(pickle.Unpickler):
    """Knows how arrays are written, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        found = _ARRAY_PARTS.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return found


# Stand-ins, which only hold what NumPy would make arrays of: its own unpickling trusts a file.


class _PickledDtype:
    def __init__(self, name: Any = b"", *_: Any) -> None:
        self.name = name.decode() if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like, which bytes do not have."""


class _PickledArray:
    def __init__(self) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def pixels(self) -> ByteArray:
        """Return the array if it is one of bytes."""
        _, shape, dtype, is_by_column, content = self.state
        if not isinstance(dtype, _PickledDtype) or dtype.name != "u1":
            raise pickle.UnpicklingError("its array is not one of bytes")
        flat = np.frombuffer(content, np.uint8)
        return flat.reshape(shape, order="F" if is_by_column else "C")


def _array(*_: Any) -> _PickledArray:
    """Return an array without its state; stands for NumPy's `_reconstruct`."""
    return _PickledArray()


def _array_of_bytes(content: Any, dtype: Any, shape: Any, order: Any) -> _PickledArray:
    """Return an array as protocol 5 writes it; stands for NumPy's `_frombuffer`."""
    array = _PickledArray()
    array.state = (1, shape, dtype, order == "F", content)
    return array


def _encoded(text: str, encoding: Any) -> bytes:
    """Return bytes that Python 3 wrote as text; stands for `_codecs.encode`."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


_ARRAY_PARTS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy.core.numeric", "_frombuffer"): _array_of_bytes,
    ("numpy._core.numeric", "_frombuffer"): _array_of_bytes,
    ("numpy", "ndarray"): _PickledArray,
    ("numpy", "dtype"): _PickledDtype,
    ("_codecs", "encode"): _encoded,
}

# What unpickling bytes that are no pickle, or a hostile one, can raise.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)


def _content(path: Path) -> bytes:
    try:
        n_bytes = path.stat().st_size
        if n_bytes > MAX_FILE_BYTES:
            raise InputError(f"{path} has {n_bytes / 1e6:,.0f} MB; no file of CIFAR is so large")
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; unpack the whole archive"
        ) from error


def _label_list(
    batch: dict[bytes, Any], key: bytes, pixels: npt.NDArray[Any], path: Path
) -> IntArray:
    labels = batch.get(key)
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise InputError(f"{path} has no list of {key.decode()}")
    if len(labels) != len(pixels):
        raise InputError(f"{path} has {len(pixels):,} pictures but {len(labels):,} {key.decode()}")
    return np.array(labels, dtype=np.int64)


def _checked_labels(labels: IntArray, n_names: int, path: Path) -> IntArray:
    if len(labels) and not (labels.min() >= 0 and labels.max() < n_names):
        raise InputError(
            f"{path} has labels from {labels.min()} to {labels.max()} for {n_names} names; unpack "
            "the archive again"
        )
    return labels


def _name_list(meta: dict[bytes, Any], key: bytes, path: Path) -> tuple[str, ...]:
    names = meta.get(key)
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        raise InputError(f"{path} has no list of {key.decode()}")
    return tuple(
        name if isinstance(name, str) else name.decode("utf-8", "replace") for name in names
    )


_FILES: dict[CifarKind, dict[CifarSplit, tuple[str, ...]]] = {
    "cifar10": {
        "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test": ("test_batch",),
    },
    "cifar100": {"train": ("train",), "test": ("test",)},
}
_FOLDERS: dict[CifarKind, tuple[str, ...]] = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-batches-bin"),
    "cifar100": ("cifar-100-python", "cifar-100-binary"),
}
_PICKLED_NAME_FILES: dict[CifarKind, str] = {"cifar10": "batches.meta", "cifar100": "meta"}
_BINARY_NAME_FILES: dict[CifarKind, tuple[str, ...]] = {
    "cifar10": ("batches.meta.txt",),
    "cifar100": ("fine_label_names.txt", "coarse_label_names.txt"),
}
_NAME_FILES: dict[CifarKind, tuple[str, str]] = {
    kind: (_PICKLED_NAME_FILES[kind], _BINARY_NAME_FILES[kind][0]) for kind in _FILES
}
_NAME_KEYS: dict[CifarKind, tuple[bytes, ...]] = {
    "cifar10": (b"label_names",),
    "cifar100": (b"fine_label_names", b"coarse_label_names"),
}
