"""Which labelled photos are examples, and which are tested, in the bench of anomaly scores."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexer.arrays import BoolArray, IntArray
from indexer.scoring.anomaly import MIN_EXAMPLES
from schemas.errors import InputError
from service.collection import Collection
from service.examples import Labels

SPLIT_COLUMN = "split"
EXAMPLE_SIDE, TEST_SIDE = "train", "test"

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class LabelledPhotos:
    """Labelled photos by id: their class, and what they may be used for, all (n,)."""

    labels: Labels
    classes: tuple[str, ...]
    class_of: IntArray
    may_be_example: BoolArray
    may_be_tested: BoolArray
    notes: tuple[str, ...]


def labelled_photos(
    collection: Collection, read: Labels, *, uses_split_column: bool
) -> LabelledPhotos:
    """Return the labelled photos of the collection, in an order that the labels do not change.

    Parameters
    ----------
    collection : Collection
    read : Labels
    uses_split_column : bool
        Examples are of the photos whose column `split` says train, and those are tested where it
        says test, if there is such a column with both.

    Raises
    ------
    InputError
        If a photo has two labels.
    """
    order = np.argsort(read.image_ids, kind="stable")
    image_ids = read.image_ids[order]
    twice = np.flatnonzero(np.diff(image_ids) == 0)
    if len(twice):
        raise InputError(f"the photo id:{image_ids[twice[0]]} has more than one label; give one")
    names = np.array(read.labels[: len(order)], dtype=np.str_)[order]
    classes, class_of = np.unique(names, return_inverse=True)
    sides = _sides(collection, image_ids) if uses_split_column else None
    every = np.ones(len(image_ids), np.bool_)
    may_be_example, may_be_tested = (every, every) if sides is None else sides
    return LabelledPhotos(
        Labels(image_ids, tuple(map(str, names))),
        tuple(map(str, classes)),
        class_of.astype(np.int64),
        may_be_example,
        may_be_tested,
        _notes(n_outside=len(read.outside), has_sides=sides is not None),
    )


def usable_classes(photos: LabelledPhotos, n_reserved: int | None) -> IntArray:
    """Return the classes that have enough examples, and normal photos left to be tested."""
    n_classes = len(photos.classes)
    n_examples = np.bincount(photos.class_of[photos.may_be_example], minlength=n_classes)
    ranks = drawn_ranks(photos.class_of, photos.may_be_example, seed=0, draw=0)
    is_left = photos.may_be_tested & ~is_reserved(ranks, n_reserved)
    n_left = np.bincount(photos.class_of[is_left], minlength=n_classes)
    return np.flatnonzero((n_examples >= (n_reserved or MIN_EXAMPLES)) & (n_left > 0))


def drawn_ranks(class_of: IntArray, may_be_drawn: BoolArray, *, seed: int, draw: int) -> IntArray:
    """Return the place of each photo in a random order of its class.

    The first photos of the order are the examples, so that more examples include the fewer.

    Parameters
    ----------
    class_of : int64 of shape (n,)
    may_be_drawn : bool of shape (n,)
    seed : int
    draw : int
        Number of the order; each is another one.

    Returns
    -------
    int64 of shape (n,)
        From 0 in each class; the highest int64 for what may not be drawn.
    """
    ranks = np.full(len(class_of), _NEVER)
    for number in np.unique(class_of).tolist():
        members = np.flatnonzero((class_of == number) & may_be_drawn)
        # Of its own for each class: what the others hold does not change its examples.
        ranks[members] = np.random.default_rng([seed, draw, number]).permutation(len(members))
    return ranks


def is_reserved(ranks: IntArray, n_reserved: int | None) -> BoolArray:
    """Return which photos are among the first so many of their class; None takes all drawn."""
    return ranks < (_NEVER if n_reserved is None else n_reserved)


def _sides(collection: Collection, image_ids: IntArray) -> tuple[BoolArray, BoolArray] | None:
    """Return which photos may be examples and which tested, None if no column tells them apart."""
    if SPLIT_COLUMN not in collection.store.image_columns.names:
        return None
    column = collection.store.images_by_id(image_ids, [SPLIT_COLUMN])[SPLIT_COLUMN]
    said = pc.utf8_lower(column.cast(pa.string()))
    examples, tested = (
        np.asarray(pc.fill_null(pc.equal(said, side), False))  # noqa: FBT003
        for side in (EXAMPLE_SIDE, TEST_SIDE)
    )
    return (examples, tested) if examples.any() and tested.any() else None


def _notes(*, n_outside: int, has_sides: bool) -> tuple[str, ...]:
    notes = []
    if n_outside:
        notes.append(
            f"Left out: {n_outside:,} labelled photos that are not in the collection, or changed "
            "since."
        )
    if has_sides:
        notes.append(
            f"Examples are of the photos whose column {SPLIT_COLUMN} says {EXAMPLE_SIDE}, those "
            f"of {TEST_SIDE} are tested."
        )
    return tuple(notes)
