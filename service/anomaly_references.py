"""Make anomaly references, list them, and remove them."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from indexer.arrays import IntArray
from indexer.interrupt import deferred_interrupt
from indexer.lock import writer_lock
from indexer.references import (
    ANOMALY_COLUMNS,
    NeighbourReference,
    TextReference,
    active_name,
    reference_row,
)
from indexer.scoring.anomaly import EXTERNAL_WEIGHT, NEIGHBOURS, normal_statistics
from indexer.store import Store, local_directory
from schemas.anomalies import (
    AnomalyReference,
    AnomalyReferenceList,
    NeighbourScoring,
    ReferenceSettings,
    RemovedReference,
    TextScoring,
    TextSource,
)
from schemas.errors import InputError
from service.collection import Collection
from service.normal_photos import NormalChoice, NormalPhotos, all_photos, normal_photos, with_spread
from service.texts import NamedEmbeddings, embedded_dictionary, embedded_names

# Rows per commit of new scores: a commit of 100,000 takes a tenth of a second.
ROWS_PER_UPDATE = 100_000

MAX_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class TextChoice:
    """Scores by texts: the paper's lambda and K, and a dictionary other than ImageNet's names."""

    external_weight: float = EXTERNAL_WEIGHT
    neighbours: int = NEIGHBOURS
    dictionary: Path | None = None
    dictionary_embeddings: Path | None = None


@dataclass(frozen=True, slots=True)
class NeighbourChoice:
    """Scores by the `nearest`-th nearest of at most `sample` normal photos, drawn by `seed`."""

    nearest: int = 5
    sample: int = 10_000
    seed: int = 0


def fit_reference(
    collection: Collection,
    name: str,
    *,
    normal: NormalChoice,
    scoring: TextChoice | NeighbourChoice,
) -> AnomalyReference:
    """Learn what is normal, and store it under a name.

    It gives no score yet: see :func:`service.anomalies.score_photos`. A reference of the same
    name is replaced; the scores that it gave are cleared, and it is the active one no longer.

    Parameters
    ----------
    collection : Collection
    name : str
    normal : NormalChoice
        Which photos are normal. With neither examples nor labels, scores by neighbours take all
        photos for normal and need no text.
    scoring : TextChoice or NeighbourChoice

    Raises
    ------
    InputError
        If the name, a source or a number cannot be used.
    IsophoteError
        If the collection or its model cannot be used, or another process writes to it.
    """
    _require_name(name)
    if isinstance(scoring, TextChoice):
        reference: TextReference | NeighbourReference = _text_reference(
            collection, name, normal, scoring
        )
    else:
        reference = _neighbour_reference(collection, name, normal, scoring)
    store, created_at = collection.store, datetime.now(UTC)
    with writer_lock(local_directory(store.uri)), deferred_interrupt():
        n_cleared = clear_scores(store, name)
        store.save_reference(reference_row(reference, created_at))
    return AnomalyReference(
        name=name,
        created_at=created_at,
        is_active=False,
        n_scored=0,
        n_cleared=n_cleared,
        settings=reference.settings,
    )


def list_references(collection: Collection) -> AnomalyReferenceList:
    """Return the references of a collection, by name."""
    store = collection.store
    return AnomalyReferenceList(
        references=[
            AnomalyReference(
                name=row["name"],
                created_at=row["created_at"],
                is_active=row["is_active"],
                n_scored=store.count_images(scored_by(row["name"])),
                settings=ReferenceSettings.model_validate_json(row["settings"]),
            )
            for row in store.references().to_pylist()
        ]
    )


def remove_reference(collection: Collection, name: str) -> RemovedReference:
    """Remove a reference, and the scores that it gave.

    Raises
    ------
    InputError
        If there is none of this name.
    LockedError
        If another process writes to the collection.
    """
    store = collection.store
    with writer_lock(local_directory(store.uri)), deferred_interrupt():
        require_reference(store, name)
        was_active = active_name(store) == name
        # The scores first: a crash between the two leaves a reference, which can be removed.
        n_cleared = clear_scores(store, name)
        store.delete_reference(name)
    return RemovedReference(name=name, was_active=was_active, n_cleared=n_cleared)


def reference_names(store: Store) -> list[str]:
    """Return the names of all references.

    Raises
    ------
    InputError
        If there is none.
    """
    names: list[str] = store.references()["name"].to_pylist()
    if not names:
        raise InputError(
            "the collection has no anomaly reference yet; make one with "
            "`isophote anomalies fit NAME`"
        )
    return names


def require_reference(store: Store, name: str) -> None:
    """Raise an InputError that lists the references there are unless one has this name."""
    names = reference_names(store)
    if name not in names:
        raise InputError(
            f"there is no anomaly reference {name!r}; name one of {', '.join(map(repr, names))}, "
            "or make it with `isophote anomalies fit`"
        )


def scored_by(name: str) -> str:
    """Return the SQL condition that photos have their score from a reference."""
    quoted = name.replace("'", "''")
    return f"anomaly_reference = '{quoted}'"


def clear_scores(store: Store, name: str) -> int:
    """Make the scores that a reference gave null; return of how many photos."""
    image_ids = store.matching_ids(scored_by(name))
    types = store.image_columns
    for start in range(0, len(image_ids), ROWS_PER_UPDATE):
        block = image_ids[start : start + ROWS_PER_UPDATE]
        nulls = {
            column: pa.nulls(len(block), types.field(column).type) for column in ANOMALY_COLUMNS
        }
        store.update_images(pa.table({"image_id": pa.array(block), **nulls}))
    return len(image_ids)


def _text_reference(
    collection: Collection, name: str, normal: NormalChoice, scoring: TextChoice
) -> TextReference:
    # First: a path that is wrong must not wait for a long dictionary.
    photos = with_spread(normal_photos(collection, normal))
    dictionary = embedded_dictionary(
        collection,
        names=scoring.dictionary,
        template=normal.template,
        given=scoring.dictionary_embeddings,
    )
    if scoring.neighbours > len(dictionary.names):
        raise InputError(
            f"--neighbours {scoring.neighbours} is more than the {len(dictionary.names)} texts of "
            "the dictionary; give a smaller number or a longer dictionary"
        )
    labels = photos.labels or embedded_names(
        collection,
        [found.name for found in photos.classes],
        template=normal.template,
        given=normal.label_embeddings,
    )
    statistics = normal_statistics(
        photos.vectors,
        photos.class_of,
        label_embeddings=labels.embeddings,
        dictionary=dictionary.embeddings,
    )
    described = TextScoring(
        external_weight=scoring.external_weight,
        neighbours=scoring.neighbours,
        labels=_text_source(labels, normal, normal.labels, normal.label_embeddings),
        dictionary=_text_source(
            dictionary, normal, scoring.dictionary, scoring.dictionary_embeddings
        ),
    )
    settings = _settings(normal, photos, described, n_normal=len(photos.vectors))
    return TextReference(name, settings, described, statistics, dictionary.names)


def _neighbour_reference(
    collection: Collection, name: str, normal: NormalChoice, scoring: NeighbourChoice
) -> NeighbourReference:
    if normal.origin == "cover":
        photos = all_photos(collection, where=normal.where)
    else:
        photos = normal_photos(collection, normal)
    rows = _sample(len(photos.vectors), scoring)
    if scoring.nearest >= len(rows):
        raise InputError(
            f"--nearest {scoring.nearest} needs more than {scoring.nearest} normal photos, as a "
            f"photo is not its own neighbour, and there are {len(rows)}"
        )
    described = NeighbourScoring(nearest=scoring.nearest, sample=scoring.sample, seed=scoring.seed)
    settings = _settings(normal, photos, described, n_normal=len(rows))
    return NeighbourReference(
        name, settings, described, photos.vectors[rows], photos.image_ids[rows]
    )


def _sample(n_photos: int, scoring: NeighbourChoice) -> IntArray:
    """Rows of the photos that are kept, ascending."""
    if n_photos <= scoring.sample:
        return np.arange(n_photos)
    generator = np.random.default_rng(scoring.seed)
    return np.sort(generator.choice(n_photos, scoring.sample, replace=False))


def _settings(
    normal: NormalChoice,
    photos: NormalPhotos,
    scoring: TextScoring | NeighbourScoring,
    *,
    n_normal: int,
) -> ReferenceSettings:
    return ReferenceSettings(
        scoring=scoring,
        origin=photos.origin,
        examples=normal.examples,
        where=normal.where,
        confident=normal.confident if photos.origin == "labels" else None,
        cover=normal.cover if photos.origin == "cover" else None,
        least=normal.least if photos.origin == "cover" else None,
        classes=photos.classes,
        skipped=photos.skipped,
        n_normal=n_normal,
    )


def _text_source(
    texts: NamedEmbeddings, normal: NormalChoice, names: Path | None, given: Path | None
) -> TextSource:
    digest = hashlib.sha256("\n".join(texts.names).encode("utf-8", "surrogatepass"))
    origin = "ImageNet-1k" if names is None and given is None else str(names or given)
    return TextSource(
        n_texts=len(texts.names),
        origin=origin,
        digest=digest.hexdigest()[:16],
        template=normal.template if given is None else None,
        embeddings=None if given is None else str(given),
    )


def _require_name(name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_LENGTH:
        raise InputError(
            f"{name[:MAX_NAME_LENGTH]!r} cannot name a reference; give up to {MAX_NAME_LENGTH} "
            "letters that can be seen"
        )
