"""Small CIFAR archives, in the layouts of the original ones."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from indexer.arrays import ByteArray

NAMES = ("airplane", "automobile", "bird")
COARSE_NAMES = ("machines", "animals")
COARSE_OF = (0, 0, 1)
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def cifar_pictures(n_pictures: int, *, seed: int = 0) -> ByteArray:
    """Pictures uint8 (n, 32, 32, 3) of one colour each, and one white pixel that is not centred."""
    colours = np.random.default_rng(seed).integers(0, 256, (n_pictures, 1, 1, 3))
    pictures = np.broadcast_to(colours, (n_pictures, 32, 32, 3)).astype(np.uint8)
    pictures[:, 2, 30] = 255
    return pictures


def planes(pictures: ByteArray) -> ByteArray:
    """Pictures as CIFAR stores them: all red, then all green, then all blue."""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).reshape(len(pictures), -1)


def pickled_cifar10(folder: Path, *, n_pictures: int = 3, protocol: int = 2) -> Path:
    """The version for Python, with so many pictures in each file."""
    folder.mkdir(parents=True)
    _dump(folder / "batches.meta", {b"label_names": [name.encode() for name in NAMES]}, protocol)
    for seed, name in enumerate(BATCHES):
        content = {
            b"batch_label": name.encode(),
            b"labels": [row % 3 for row in range(n_pictures)],
            b"data": planes(cifar_pictures(n_pictures, seed=seed)),
            b"filenames": [b"x.png"] * n_pictures,
        }
        _dump(folder / name, content, protocol)
    return folder


def binary_cifar10(folder: Path, *, n_pictures: int = 3) -> Path:
    """The same pictures in the binary version."""
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    labels = (np.arange(n_pictures) % 3).astype(np.uint8)[:, np.newaxis]
    for seed, name in enumerate(BATCHES):
        records = np.hstack([labels, planes(cifar_pictures(n_pictures, seed=seed))])
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def pickled_cifar100(folder: Path, *, n_pictures: int = 4) -> Path:
    """The version for Python of CIFAR-100."""
    folder.mkdir(parents=True)
    names = {b"fine_label_names": list(NAMES), b"coarse_label_names": list(COARSE_NAMES)}
    _dump(folder / "meta", names, 2)
    for seed, name in enumerate(("train", "test")):
        fine = [row % 3 for row in range(n_pictures)]
        content = {
            b"fine_labels": fine,
            b"coarse_labels": [COARSE_OF[label] for label in fine],
            b"data": planes(cifar_pictures(n_pictures, seed=seed)),
        }
        _dump(folder / name, content, 2)
    return folder


def binary_cifar100(folder: Path, *, n_pictures: int = 4) -> Path:
    """The same pictures in the binary version."""
    folder.mkdir(parents=True)
    (folder / "fine_label_names.txt").write_text("\n".join(NAMES))
    (folder / "coarse_label_names.txt").write_text("\n".join(COARSE_NAMES))
    fine = np.arange(n_pictures) % 3
    labels = np.stack([np.array(COARSE_OF)[fine], fine], axis=1).astype(np.uint8)
    for seed, name in enumerate(("train", "test")):
        records = np.hstack([labels, planes(cifar_pictures(n_pictures, seed=seed))])
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def _dump(path: Path, content: dict[bytes, Any], protocol: int) -> None:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
