"""Choose photos that stand for a collection, or leave out those that repeat others."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexer.arrays import FloatArray, IntArray
from indexer.scoring.coverage import (
    Cover,
    facility_location,
    k_centre,
    nearest_chosen,
    sample_size,
    with_blanks_alike,
)
from indexer.scoring.semantic_pruning import (
    Pruning,
    TooFewLeftError,
    nearest_in_cells,
    semantic_pruning,
)
from schemas.errors import InputError
from schemas.model import Space
from schemas.subset import (
    ChosenPhoto,
    Coverage,
    LeftOutPhoto,
    Subset,
    SubsetMethod,
    SubsetRest,
    SubsetSummary,
)
from service.axes import AxesChoice
from service.collection import Collection
from service.paths import full_paths, nul_separated
from service.table_files import write_table
from service.vectors import space_vectors

CHOSEN_SCHEMA = pa.schema(
    [
        ("rank", pa.int64()),
        ("n_covered", pa.int64()),
        ("image_id", pa.int64()),
        ("path", pa.string()),
    ]
)
"""Columns of exported chosen photos: the fields of ChosenPhoto."""

LEFT_OUT_SCHEMA = pa.schema(
    [
        ("similarity", pa.float64()),
        ("nearest_id", pa.int64()),
        ("image_id", pa.int64()),
        ("path", pa.string()),
    ]
)
"""Columns of exported photos that were left out: the fields of LeftOutPhoto."""


@dataclass(frozen=True, slots=True)
class SubsetChoice:
    """What is asked for: a number of photos, or the share to keep.

    `count` is at least 1, and more than there are means all; `keep` in (0, 1] is rounded to the
    nearest number of photos, at least one. Exactly one of the two is given. `method` is k-centre
    for a count and semdedup for a share by default, `space` the model's default image space.
    `seed` draws samples, cells, and the random choice that is compared with.
    """

    count: int | None = None
    keep: float | None = None
    method: SubsetMethod | None = None
    space: Space | AxesChoice | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """A choice as arrays: `image_ids` int64 (n,), ascending, of the rows that `cover` tells of.

    `where` is the condition that they were selected by.
    """

    summary: SubsetSummary
    image_ids: IntArray
    cover: Cover
    where: str | None


def choose_subset(
    collection: Collection, choice: SubsetChoice, *, where: str | None = None
) -> Chosen:
    """Choose photos; :func:`chosen_photos` and :func:`left_out_photos` then tell which.

    Photos without a direction, such as blank ones, are taken for copies of each other.

    Parameters
    ----------
    collection : Collection
    choice : SubsetChoice
    where : str, optional
        Only among photos for which this SQL condition holds.

    Raises
    ------
    InputError
        If the choice is out of range, no photo matches, or the space cannot be used.
    FilterError
        If the condition is not one.
    """
    _check(choice)
    space_map = collection.chosen_map(choice.space)
    image_ids, vectors = space_vectors(collection, space_map, where=where)
    if not len(image_ids):
        raise InputError(
            "no photo matches, so there is nothing to choose from; index photos first, or change "
            "--where"
        )
    count = _number(choice, len(image_ids))
    method = choice.method or ("semdedup" if choice.count is None else "k-centre")
    found = _found(method, with_blanks_alike(vectors), count=count, seed=choice.seed)
    summary = SubsetSummary(
        method=method,
        space=space_map.space,
        seed=choice.seed,
        n_photos=len(image_ids),
        n_chosen=count,
        coverage=_coverage(found.cover),
        random_coverage=_coverage(found.at_random),
        n_sampled=found.n_sampled,
        n_cells=found.n_cells,
        threshold=found.threshold,
    )
    return Chosen(summary, image_ids, found.cover, where)


def chosen_photos(collection: Collection, chosen: Chosen) -> Subset:
    """Return the chosen photos, by rank. One that was removed meanwhile is left out."""
    cover = chosen.cover
    n_covered = np.bincount(cover.nearest, minlength=len(cover.chosen))
    image_ids = chosen.image_ids[cover.chosen].tolist()
    paths = _paths(collection, chosen.where, image_ids)
    photos = [
        ChosenPhoto(rank=rank, n_covered=covered, image_id=image_id, path=paths[image_id])
        for rank, (image_id, covered) in enumerate(
            zip(image_ids, n_covered.tolist(), strict=True), start=1
        )
        if image_id in paths
    ]
    return Subset(summary=chosen.summary, photos=photos)


def left_out_photos(collection: Collection, chosen: Chosen) -> SubsetRest:
    """Return the photos that were not chosen, the most similar to a chosen one first.

    Equally similar ones come by id; one that was removed meanwhile is left out.
    """
    cover = chosen.cover
    rows = _left_out(cover)
    rows = rows[np.argsort(-cover.similarities[rows], kind="stable")]
    image_ids = chosen.image_ids[rows].tolist()
    nearest_ids = chosen.image_ids[cover.chosen[cover.nearest[rows]]].tolist()
    paths = _paths(collection, chosen.where, image_ids)
    photos = [
        LeftOutPhoto(
            similarity=similarity, nearest_id=nearest_id, image_id=image_id, path=paths[image_id]
        )
        for similarity, nearest_id, image_id in zip(
            cover.similarities[rows].tolist(), nearest_ids, image_ids, strict=True
        )
        if image_id in paths
    ]
    return SubsetRest(summary=chosen.summary, photos=photos)


def export_subset(listed: Subset | SubsetRest, target: Path) -> None:
    """Write photos as CSV, JSON lines or Parquet, as the extension of `target` says.

    Raises
    ------
    InputError
        If the extension is another, or the file cannot be written.
    """
    schema = CHOSEN_SCHEMA if isinstance(listed, Subset) else LEFT_OUT_SCHEMA
    rows = [photo.model_dump() for photo in listed.photos]
    write_table(pa.Table.from_pylist(rows, schema=schema), target)


def nul_separated_paths(listed: Subset | SubsetRest) -> bytes:
    """Return the paths as the bytes the file system knows, each ended by NUL, as for xargs -0."""
    return nul_separated(photo.path for photo in listed.photos)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a method chose, a random choice of as many, and what there is to tell of the method."""

    cover: Cover
    at_random: Cover
    n_sampled: int | None = None
    n_cells: int | None = None
    threshold: float | None = None


def _found(method: SubsetMethod, vectors: FloatArray, *, count: int, seed: int) -> _Found:
    # Another stream than that which draws samples and cells.
    generator = np.random.default_rng([seed, 1])
    at_random = generator.choice(len(vectors), count, replace=False)
    if method == "semdedup":
        pruning = _pruning(vectors, count=count, seed=seed)
        return _Found(
            nearest_in_cells(vectors, pruning.cells, pruning.chosen),
            nearest_in_cells(vectors, pruning.cells, at_random),
            n_cells=len(pruning.cells),
            threshold=pruning.threshold,
        )
    random_cover = nearest_chosen(vectors, at_random)
    if method == "k-centre":
        return _Found(k_centre(vectors, count=count), random_cover)
    return _Found(
        facility_location(vectors, count=count, seed=seed),
        random_cover,
        n_sampled=sample_size(len(vectors), count),
    )


def _pruning(vectors: FloatArray, *, count: int, seed: int) -> Pruning:
    try:
        return semantic_pruning(vectors, count=count, seed=seed)
    except TooFewLeftError as error:
        raise InputError(
            f"semdedup cannot leave so few photos: {error}; choose more, or by k-centre"
        ) from error


def _check(choice: SubsetChoice) -> None:
    if (choice.count is None) == (choice.keep is None):
        raise InputError("give either a number of photos or a share to keep")
    if choice.count is not None and choice.count < 1:
        raise InputError(f"the number of photos must be at least 1, got {choice.count}")
    if choice.keep is not None and not 0 < choice.keep <= 1:
        raise InputError(f"the share to keep must be above 0 and at most 1, got {choice.keep:g}")


def _number(choice: SubsetChoice, n_photos: int) -> int:
    wanted = n_photos if choice.count is None else choice.count
    share = 1.0 if choice.keep is None else choice.keep
    return min(n_photos, wanted, max(1, round(share * n_photos)))


def _left_out(cover: Cover) -> IntArray:
    is_left_out = np.ones(len(cover.nearest), np.bool_)
    is_left_out[cover.chosen] = False
    return np.flatnonzero(is_left_out)


def _coverage(cover: Cover) -> Coverage | None:
    similarities = cover.similarities[_left_out(cover)]
    if not len(similarities):
        return None
    return Coverage(
        lowest_similarity=float(similarities.min()), mean_similarity=float(similarities.mean())
    )


def _paths(collection: Collection, where: str | None, image_ids: list[int]) -> dict[int, str]:
    """Return the full path of each photo that is still there, by id."""
    # All that match at once: asking for many thousand ids is slower.
    table = collection.store.images(["image_id", "root", "path"], where)
    table = table.filter(pc.is_in(table["image_id"], pa.array(image_ids, pa.int64())))
    return dict(zip(table["image_id"].to_pylist(), full_paths(table).to_pylist(), strict=True))
