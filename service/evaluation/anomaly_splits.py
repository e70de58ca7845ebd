"""Which classes are normal, in the bench of anomaly scores."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.arrays import BoolArray, IntArray
from schemas.errors import InputError
from schemas.evaluation_detection import Protocol

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

# arXiv:2407.17083, section 4: the normal classes of the five splits, by CIFAR-10's numbers.
_CIFAR10_SPLITS = (
    (0, 1, 9, 7, 3, 2),
    (0, 2, 4, 3, 7, 5),
    (5, 1, 9, 8, 7, 0),
    (5, 7, 1, 8, 4, 6),
    (8, 1, 5, 3, 4, 6),
)
_CIFAR100_CLASSES = 100
_CIFAR100_BLOCK = 20

# Three of the hundred, first, middle and last by name; no other set of 100 classes has all.
_CIFAR100_SIGNS = frozenset(("apple", "maple tree", "worm"))

GIVEN_SPLITS = ("cifar10-6", "cifar100-20")


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of classes, int64, that are normal and that are anomalous. The others take no part."""

    name: str
    normal: IntArray
    anomalous: IntArray


def spoken(name: str) -> str:
    """Return a label as one would say it: folders and data sets write `maple_tree`."""
    return name.replace("_", " ")


def is_cifar10(classes: Sequence[str]) -> bool:
    """Return whether these are the classes of CIFAR-10."""
    return sorted(classes) == sorted(CIFAR10_CLASSES)


def is_cifar100(classes: Sequence[str]) -> bool:
    """Return whether these are the fine classes of CIFAR-100."""
    return len(classes) == _CIFAR100_CLASSES and set(map(spoken, classes)) >= _CIFAR100_SIGNS


def class_splits(
    classes: Sequence[str], may_be_normal: BoolArray, *, protocol: Protocol
) -> list[Split]:
    """Return one split for each class that is normal, or the anomaly, in turn.

    Parameters
    ----------
    classes : sequence of str
    may_be_normal : bool of shape (n_classes,)
        Those that have enough photos. The others are only ever anomalous in "one-class", and
        take no part in "leave-one-out".
    protocol : {"one-class", "leave-one-out"}

    Raises
    ------
    InputError
        If there are fewer than two classes, or no class can be normal.
    """
    rows = np.arange(len(classes))
    usable = rows[may_be_normal]
    if protocol == "one-class":
        splits = [Split(classes[row], rows[row : row + 1], rows[rows != row]) for row in usable]
    else:
        splits = [Split(classes[row], usable[usable != row], rows[row : row + 1]) for row in usable]
    if len(classes) <= 1 or not all(len(split.normal) for split in splits) or not splits:
        raise InputError(
            f"{len(usable)} of {len(classes)} classes have more photos than --shots, which does "
            "not suffice; give labels of two classes at least, or fewer --shots"
        )
    return splits


def given_splits(classes: Sequence[str], source: str) -> list[Split]:
    """Return splits by the paper's name of them, or from a file.

    Parameters
    ----------
    classes : sequence of str
    source : str
        One of `GIVEN_SPLITS`, or a text file with one split a line: the names of its normal
        classes, separated by commas, or by tabs where names have commas. Lines that start with
        # are left out. All other classes are anomalous.

    Raises
    ------
    InputError
        If the classes are not those of the paper's splits, the file cannot be read, or it names
        a class that there is not.
    """
    if source == "cifar10-6":
        if not is_cifar10(classes):
            raise _refused(source, "the ten classes of CIFAR-10")
        named = [[CIFAR10_CLASSES[number] for number in split] for split in _CIFAR10_SPLITS]
    elif source == "cifar100-20":
        if not is_cifar100(classes):
            raise _refused(source, "the hundred fine classes of CIFAR-100")
        # By name, which is the order of their numbers.
        ordered = sorted(classes)
        starts = range(0, _CIFAR100_CLASSES, _CIFAR100_BLOCK)
        named = [ordered[start : start + _CIFAR100_BLOCK] for start in starts]
    else:
        named = [_names_in(line) for line in _lines(Path(source))]
    return [
        named_split(classes, normal, name=f"{source} {number}")
        for number, normal in enumerate(named, start=1)
    ]


def named_split(classes: Sequence[str], normal: Iterable[str], *, name: str) -> Split:
    """Return the split whose normal classes have these names; all others are anomalous.

    Raises
    ------
    InputError
        If there is no such class, or no class is left over or taken.
    """
    wanted = list(dict.fromkeys(normal))
    unknown = [label for label in wanted if label not in classes]
    if unknown:
        known = ", ".join(classes[:10]) + (" ..." if len(classes) > 10 else "")  # noqa: PLR2004
        raise InputError(f"no photo has the label {unknown[0]!r} of {name}; there are {known}")
    is_normal = np.isin(np.array(classes), wanted)
    if is_normal.all() or not is_normal.any():
        raise InputError(f"{name} must leave some classes normal and some anomalous")
    return Split(name, np.flatnonzero(is_normal), np.flatnonzero(~is_normal))


def _refused(source: str, wanted: str) -> InputError:
    return InputError(f"the splits {source} need {wanted} as labels; give a file of splits")


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"cannot read the splits {path}: {(error.strerror or str(error)).lower()}; give a "
            f"file, or one of {', '.join(GIVEN_SPLITS)}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text; write one split a line") from error
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith("#")]
    if not kept:
        raise InputError(f"{path} has no split; write the normal classes of one on each line")
    return kept


def _names_in(line: str) -> list[str]:
    parts = line.split("\t" if "\t" in line else ",")
    return [part.strip() for part in parts if part.strip()]
