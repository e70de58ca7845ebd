"""Score photos by an anomaly reference, and rank them with the reason in words."""

import shlex
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexer.ingest import IngestProgress
from indexer.interrupt import deferred_interrupt
from indexer.lock import writer_lock
from indexer.references import (
    ANOMALY_COLUMNS,
    WORD_SEPARATOR,
    NeighbourReference,
    TextReference,
    active_name,
    anomaly_columns,
    load_reference,
)
from indexer.scan import joined_path
from indexer.store import Store, local_directory
from schemas.anomalies import (
    AnomalyList,
    AnomalyScoring,
    NeighbourScoring,
    RankedAnomaly,
    ReferenceSettings,
)
from schemas.errors import InputError
from service.anomaly_references import ROWS_PER_UPDATE, reference_names, require_reference
from service.collection import Collection

# Standard deviations from which on a photo is called far: a sixth of the normal ones are.
FAR = 1.0

_RANKED_COLUMNS = ("root", "path", *ANOMALY_COLUMNS)

# Words that a reason names; all of them are in the collection.
REASON_WORDS = 3


def score_photos(
    collection: Collection,
    name: str | None = None,
    *,
    report: Callable[[IngestProgress], None],
) -> AnomalyScoring:
    """Score all photos by a reference, and make it the active one, by which new ones are scored.

    Each photo's row names the reference that its score is from, so that what an interrupted run
    has written is right; the reference becomes active when all is written.

    Parameters
    ----------
    collection : Collection
    name : str, optional
        Of the reference; the active one by default, or the only one.
    report : callable
        Told the progress.

    Raises
    ------
    InputError
        If there is no such reference.
    LockedError, StorageError
        If another process writes to the collection, or it cannot be written to.
    """
    started = time.monotonic()
    store = collection.store
    chosen = _chosen_name(store, name)
    n_scored = 0
    with writer_lock(local_directory(store.uri)):
        reference = load_reference(store, chosen)
        n_total = store.count_images()
        report(IngestProgress(n_done=0, n_total=n_total, n_failed=0))
        for changes in _in_updates(_scored_blocks(collection, reference)):
            store.update_images(changes)
            n_scored += len(changes)
            report(IngestProgress(n_done=n_scored, n_total=n_total, n_failed=0))
        with deferred_interrupt():
            store.activate_reference(chosen)
    return AnomalyScoring(reference=chosen, n_scored=n_scored, seconds=time.monotonic() - started)


def rank_anomalies(
    collection: Collection,
    name: str | None = None,
    *,
    top_k: int = 10,
    where: str | None = None,
    offset: int = 0,
) -> AnomalyList:
    """Return the most anomalous photos by a reference, and why they are.

    Parameters
    ----------
    collection : Collection
    name : str, optional
        Of the reference; the active one by default, or the only one.
    top_k : int
        At least 1; fewer come back where fewer have a score.
    where : str, optional
        SQL condition on the columns of `images`.
    offset : int
        How many of the first are passed over.

    Raises
    ------
    InputError
        If there is no such reference, or none of the selected photos has a score from it.
    FilterError
        If the condition is not one.
    """
    store = collection.store
    chosen = _chosen_name(store, name)
    # Not a part of the condition: what is told of a wrong one must show the user's own words.
    selected = store.images(["image_id", "anomaly", "anomaly_reference"], where)
    is_scored = pc.equal(selected["anomaly_reference"], chosen)
    scored = selected.filter(is_scored)
    if len(selected) and not len(scored):
        raise InputError(
            f"no photo has a score from the anomaly reference {chosen!r} yet; run "
            f"`isophote anomalies score {shlex.quote(chosen)}`"
        )
    best = scored.sort_by([("anomaly", "descending"), ("image_id", "ascending")])
    image_ids = np.asarray(best["image_id"], np.int64)[offset : offset + top_k]
    rows = store.images_by_id(image_ids, _RANKED_COLUMNS).to_pylist()
    settings = _settings_of(store, chosen)
    return AnomalyList(
        reference=chosen,
        n_scored=len(scored),
        n_unscored=len(selected) - len(scored),
        photos=[_ranked(row, settings) for row in rows],
    )


def anomaly_of(collection: Collection, image_id: int) -> tuple[str, RankedAnomaly] | None:
    """Return the reference that a photo's score is from, and the score with its reason.

    None where there is no score, or no such photo.
    """
    store = collection.store
    rows = store.images_by_id(np.array([image_id], np.int64), _RANKED_COLUMNS).to_pylist()
    if not rows or rows[0]["anomaly"] is None:
        return None
    name = rows[0]["anomaly_reference"]
    return name, _ranked(rows[0], _settings_of(store, name))


def _chosen_name(store: Store, name: str | None) -> str:
    if name is not None:
        require_reference(store, name)
        return name
    names = reference_names(store)
    found = active_name(store) or (names[0] if len(names) == 1 else None)
    if found is not None:
        return found
    raise InputError(
        "no anomaly reference is active; make one of "
        f"{', '.join(map(repr, names))} so with `isophote anomalies score NAME`"
    )


def _scored_blocks(
    collection: Collection, reference: TextReference | NeighbourReference
) -> Iterator[pa.Table]:
    """Yield ids and scores of all photos, in the blocks in which the store gives its vectors."""
    space_map = collection.space_map("clip")
    types = collection.store.image_columns
    for image_ids, stored in collection.store.vector_blocks(space_map.column):
        columns = anomaly_columns(reference, space_map.image_vectors(stored), image_ids)
        arrays = {name: pa.array(columns[name], types.field(name).type) for name in ANOMALY_COLUMNS}
        yield pa.table({"image_id": pa.array(image_ids), **arrays})


def _in_updates(blocks: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Join blocks into as many rows as a commit is worth."""
    waiting: list[pa.Table] = []
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= ROWS_PER_UPDATE:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _settings_of(store: Store, name: str) -> ReferenceSettings:
    rows = store.references().to_pylist()
    stored = next(row["settings"] for row in rows if row["name"] == name)
    return ReferenceSettings.model_validate_json(stored)


def _ranked(row: dict[str, object], settings: ReferenceSettings) -> RankedAnomaly:
    words = row["anomaly_words"]
    photo = {
        "image_id": row["image_id"],
        "path": joined_path(str(row["root"]), str(row["path"])),
        "anomaly": row["anomaly"],
        "anomaly_class": row["anomaly_class"],
        "internal": row["anomaly_internal"],
        "external": row["anomaly_external"],
        "words": str(words).split(WORD_SEPARATOR) if words is not None else [],
        "reason": "",
    }
    ranked = RankedAnomaly.model_validate(photo)
    return ranked.model_copy(update={"reason": _reason(ranked, settings)})


def _reason(photo: RankedAnomaly, settings: ReferenceSettings) -> str:
    if isinstance(settings.scoring, NeighbourScoring):
        return _distance_in_words(photo.anomaly, settings.scoring, n_normal=settings.n_normal)
    return _parts_in_words(photo)


def _distance_in_words(distance: float, scoring: NeighbourScoring, *, n_normal: int) -> str:
    place = "nearest" if scoring.nearest == 1 else f"{_ordinal(scoring.nearest)} nearest"
    return f"{distance:.3f} from the {place} of {n_normal:,} normal photos"


def _parts_in_words(photo: RankedAnomaly) -> str:
    internal, external = photo.internal or 0.0, photo.external or 0.0
    is_far, has_words = internal >= FAR, external > 0
    near = f"{'far from' if is_far else 'near'} {photo.anomaly_class!r} (internal {internal:.1f})"
    words = ", ".join(photo.words[:REASON_WORDS])
    closer = "closer than its examples to" if has_words else "no closer than its examples to"
    joint = "and" if is_far == has_words else "but"
    return f"{near}, {joint} {closer}: {words} (external {external:.1f})"


def _ordinal(number: int) -> str:
    # 11th, 12th and 13th, and not 11st.
    is_teen = number % 100 in (11, 12, 13)
    ending = "th" if is_teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
