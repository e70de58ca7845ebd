"""How well photos find those of their own label, in each space."""

import time
from dataclasses import dataclass

import numpy as np

from indexer.arrays import IntArray
from indexer.scoring.retrieval import label_retrieval
from schemas.errors import InputError
from schemas.evaluation import RetrievalEvaluation, RetrievalRow, UnusableSpace
from service.collection import Collection
from service.evaluation.measured_spaces import MeasuredSpace, SpaceChoice, measured_spaces
from service.evaluation.published import published_retrieval
from service.examples import Labels, labelled_vectors, read_labels


@dataclass(frozen=True, slots=True)
class QueryChoice:
    """Which photos ask.

    Those of labels with at least `min_members` photos; of them `limit`, drawn by `seed`, where
    there are more. All labelled photos are asked for in any case.
    """

    min_members: int = 2
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _LabelledPhotos:
    """Photos by id, the number of the label of each, and the rows that ask."""

    labels: Labels
    class_of: IntArray
    queries: IntArray
    is_drawn: bool


_ALL_SPACES = SpaceChoice()
_ALL_QUERIES = QueryChoice()


def evaluate_retrieval(
    collection: Collection,
    source: str,
    *,
    where: str | None = None,
    spaces: SpaceChoice = _ALL_SPACES,
    queries: QueryChoice = _ALL_QUERIES,
) -> RetrievalEvaluation:
    """Measure how well labelled photos find others of their label, leaving out themselves.

    Parameters
    ----------
    collection : Collection
    source : str
        Of the labels; see :func:`service.examples.read_labels`. Photos that are not in the
        collection are counted and left out.
    where : str, optional
        SQL condition; only photos for which it holds ask and are asked for.
    spaces : SpaceChoice
    queries : QueryChoice

    Raises
    ------
    InputError
        If the labels, the condition or all spaces cannot be used, a photo has two labels, or no
        label has enough photos.
    """
    start = time.perf_counter()
    read = read_labels(collection, source, where=where)
    photos = _labelled_photos(read, queries, source=source)
    rows: list[RetrievalRow] = []
    unusable: list[UnusableSpace] = []
    for measured in measured_spaces(collection, spaces):
        if isinstance(measured, UnusableSpace):
            unusable.append(measured)
        else:
            rows.append(_row(collection, photos, measured, queries.min_members))
    if not rows:
        raise InputError("; ".join(dict.fromkeys(space.reason for space in unusable)))
    counts = np.bincount(photos.class_of)
    return RetrievalEvaluation(
        collection=collection.store.uri,
        labels=source,
        n_photos=len(photos.class_of),
        n_queries=len(photos.queries),
        n_labels=len(np.unique(photos.class_of[photos.queries])),
        n_distractors=int(counts[counts < queries.min_members].sum()),
        n_outside=len(read.outside),
        seed=queries.seed if photos.is_drawn else None,
        rows=rows,
        unusable=unusable,
        published=published_retrieval(collection.store.info.model.id),
        seconds=time.perf_counter() - start,
    )


def _row(
    collection: Collection, photos: _LabelledPhotos, measured: MeasuredSpace, min_members: int
) -> RetrievalRow:
    vectors = labelled_vectors(collection, photos.labels, measured.space_map).vectors
    found = label_retrieval(
        vectors, photos.class_of, min_members=min_members, queries=photos.queries
    )
    return RetrievalRow(
        space=measured.space,
        setting=measured.setting,
        n_dimensions=vectors.shape[1],
        mean_average_precision=float(found.average_precision.mean()),
        mean_average_precision_at_r=float(found.average_precision_at_r.mean()),
        precision_at_r=float(found.precision_at_r.mean()),
        recall_at_1=float(found.recall_at_1.mean()),
    )


def _labelled_photos(read: Labels, choice: QueryChoice, *, source: str) -> _LabelledPhotos:
    known = _once(read, source=source)
    names, class_of = np.unique(np.array(known.labels, dtype=str), return_inverse=True)
    counts = np.bincount(class_of, minlength=1)
    queries = np.flatnonzero(counts[class_of] >= choice.min_members)
    if not len(queries):
        raise InputError(
            f"no label of {source} has {choice.min_members} photos in the collection "
            f"({len(class_of):,} photos of {len(names):,} labels), so that there is nothing to "
            "find; label more photos, or index those that are labelled"
        )
    is_drawn = choice.limit is not None and choice.limit < len(queries)
    if is_drawn:
        generator = np.random.default_rng(choice.seed)
        queries = np.sort(generator.choice(queries, choice.limit, replace=False))
    return _LabelledPhotos(known, class_of.astype(np.int64), queries, is_drawn)


def _once(read: Labels, *, source: str) -> Labels:
    """Return the labels of photos in the collection by id, each photo once.

    Sorted, so that a seed draws the same queries whatever the order of the source.
    """
    order = np.argsort(read.image_ids, kind="stable")
    image_ids = read.image_ids[order]
    names = np.array(read.labels, dtype=object)[order]
    is_repeat = np.zeros(len(image_ids), dtype=np.bool_)
    is_repeat[1:] = image_ids[1:] == image_ids[:-1]
    differs = np.flatnonzero(is_repeat[1:] & (names[1:] != names[:-1]))
    if len(differs):
        row = int(differs[0])
        raise InputError(
            f"{source} gives photo id:{image_ids[row]} more than one label, {names[row]!r} and "
            f"{names[row + 1]!r}; give it one"
        )
    return Labels(image_ids[~is_repeat], tuple(names[~is_repeat].tolist()))
