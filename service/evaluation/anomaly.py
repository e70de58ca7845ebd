"""How well anomaly scores tell the classes that are normal from those that are not."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from indexer.arrays import DoubleArray, FloatArray, IntArray
from indexer.gallery import centred
from indexer.scoring.anomaly import (
    EXTERNAL_WEIGHT,
    MIN_EXAMPLES,
    NEIGHBOURS,
    nearest_texts,
)
from indexer.scoring.detection import auroc, fpr_at_95_tpr
from schemas.errors import InputError
from schemas.evaluation_detection import AnomalyEvaluation, AnomalyRow, Protocol, PublishedScore
from schemas.model import Space
from service.collection import Collection
from service.evaluation.anomaly_photos import (
    EXAMPLE_SIDE,
    SPLIT_COLUMN,
    TEST_SIDE,
    LabelledPhotos,
    labelled_photos,
    usable_classes,
)
from service.evaluation.anomaly_scorers import (
    BLISS,
    EXTERNAL,
    INTERNAL,
    NEIGHBOUR,
    TEXT,
    Bench,
    Draw,
    Scorer,
    draw_examples,
    draw_rates,
    tested_in,
)
from service.evaluation.anomaly_splits import (
    Split,
    class_splits,
    given_splits,
    is_cifar10,
    is_cifar100,
    named_split,
    spoken,
)
from service.evaluation.references_without_examples import (
    NOTHING_NEIGHBOURS,
    CorrectedScoring,
    Rate,
    neighbours_without_examples,
    references_without_examples,
)
from service.evaluation.sweep import Sweep, SweptKind, parse_sweep, shown_value
from service.examples import labelled_vectors, read_labels
from service.normal_photos import ANOMALY_TEMPLATE
from service.texts import embedded_dictionary, embedded_names

SWEPT: Mapping[str, SweptKind] = {"lambda": "number", "K": "count", "shots": "count"}


@dataclass(frozen=True, slots=True)
class AnomalyTexts:
    """Where the texts come from; see :func:`service.texts.embedded_names`."""

    template: str = ANOMALY_TEMPLATE
    label_embeddings: Path | None = None
    dictionary: Path | None = None
    dictionary_embeddings: Path | None = None


@dataclass(frozen=True, slots=True)
class AnomalyChoice:
    """What is normal, what is an example of it, and how photos are scored.

    `normal` names the normal classes of one split, `splits` a file or one of the paper's; without
    both, `protocol` makes them. `shots` examples of each normal class are drawn `draws` times by
    `seed`; None takes all. `uses_split_column` draws examples from the photos whose column
    `split` says train and tests on those where it says test. `spaces` are further ones in which
    the nearest example is looked for. The paper's lambda and K are `external_weight` and `k`.
    `without_examples` adds the references that need none.
    """

    protocol: Protocol = "one-class"
    normal: tuple[str, ...] = ()
    splits: str | None = None
    shots: int | None = 10
    draws: int = 5
    seed: int = 0
    uses_split_column: bool = True
    external_weight: float = EXTERNAL_WEIGHT
    k: int = NEIGHBOURS
    texts: AnomalyTexts = field(default_factory=AnomalyTexts)
    spaces: tuple[Space, ...] = ()
    without_examples: bool = False
    sweep: str | None = None


def evaluate_anomaly(
    collection: Collection, source: str, choice: AnomalyChoice, *, where: str | None = None
) -> AnomalyEvaluation:
    """Rate anomaly scores where classes of labelled photos are normal, and others are not.

    A score of each photo for each class is made once a draw, whatever the number of splits: the
    anomaly score of a split is the least over its normal classes.

    Parameters
    ----------
    collection : Collection
    source : str
        Of the labels; see :func:`service.examples.read_labels`. Photos that are not in the
        collection are counted and left out.
    choice : AnomalyChoice
    where : str, optional
        SQL condition; only photos for which it holds take part.

    Raises
    ------
    InputError
        If labels, splits, texts or numbers cannot be used together.

    Notes
    -----
    Protocols of Goodge et al., BMVC 2024, arXiv:2407.17083, section 4. A photo drawn as an example
    of its class is tested where that class is anomalous, and not where it is normal.
    """
    started = time.perf_counter()
    sweep = None if choice.sweep is None else parse_sweep(choice.sweep, allowed=SWEPT)
    _check(choice, sweep)
    photos = labelled_photos(
        collection,
        read_labels(collection, source, where=where),
        uses_split_column=choice.uses_split_column,
    )
    if choice.shots is None and (photos.may_be_example & photos.may_be_tested).any():
        raise InputError(
            "all photos as examples leave none to test on; give a number of --shots, or a column "
            f"{SPLIT_COLUMN} with {EXAMPLE_SIDE} and {TEST_SIDE}"
        )
    usable = usable_classes(photos, _reserved(choice, sweep))
    splits = _splits(photos, usable, choice)
    bench = _bench(collection, photos, splits, usable=usable, choice=choice, sweep=sweep)
    n_draws = _n_draws(choice, sweep)
    draws = [draw_examples(bench, number, seed=choice.seed) for number in range(n_draws)]
    scorers = _scorers(choice, sweep, spaces=tuple(bench.vectors))
    rates = np.array([draw_rates(draw, scorers) for draw in draws])
    rows = [_row(scorer, rates[:, number]) for number, scorer in enumerate(scorers)]
    if choice.without_examples:
        rows += _rows_without_examples(collection, draws[0], choice)
    sizes = np.array([_sizes(draw) for draw in draws]).mean(axis=0)
    return AnomalyEvaluation(
        labels=source,
        protocol=_protocol(choice),
        splits=[split.name for split in splits],
        n_classes=len(photos.classes),
        shots=choice.shots,
        draws=n_draws,
        seed=choice.seed,
        external_weight=choice.external_weight,
        k=choice.k,
        class_text=str(choice.texts.label_embeddings or choice.texts.template),
        n_dictionary=len(bench.dictionary.names),
        mean_normal=float(sizes[0]),
        mean_anomalous=float(sizes[1]),
        rows=rows,
        published=_published(photos.classes, choice),
        notes=[*photos.notes, *_notes(photos, usable, choice, sweep=sweep)],
        seconds=time.perf_counter() - started,
    )


def _check(choice: AnomalyChoice, sweep: Sweep | None) -> None:
    swept_shots = sweep.counts if sweep is not None and sweep.name == "shots" else ()
    for shots in (choice.shots, *swept_shots):
        if shots is not None and shots < MIN_EXAMPLES:
            raise InputError(
                f"a class needs at least {MIN_EXAMPLES} --shots to know its spread, got {shots}"
            )
    if choice.draws < 1:
        raise InputError(f"--draws must be at least 1, got {choice.draws}")
    weights = sweep.numbers if sweep is not None and sweep.name == "lambda" else ()
    for weight in (choice.external_weight, *weights):
        if not (np.isfinite(weight) and weight >= 0):
            raise InputError(f"lambda must be a number from 0, got {weight:g}")


def _reserved(choice: AnomalyChoice, sweep: Sweep | None) -> int | None:
    """Return how many photos of a class are kept from the tests: one set for all rows."""
    swept = sweep.counts if sweep is not None and sweep.name == "shots" else ()
    return None if choice.shots is None else max(choice.shots, *swept, MIN_EXAMPLES)


def _n_draws(choice: AnomalyChoice, sweep: Sweep | None) -> int:
    """Return how many draws differ: all examples are always the same."""
    is_one = choice.shots is None and (sweep is None or sweep.name != "shots")
    return 1 if is_one else choice.draws


def _splits(photos: LabelledPhotos, usable: IntArray, choice: AnomalyChoice) -> list[Split]:
    if choice.normal:
        splits = [named_split(photos.classes, choice.normal, name="--normal")]
    elif choice.splits is not None:
        splits = given_splits(photos.classes, choice.splits)
    else:
        may_be_normal = np.isin(np.arange(len(photos.classes)), usable)
        return class_splits(photos.classes, may_be_normal, protocol=choice.protocol)
    for split in splits:
        poor = np.setdiff1d(split.normal, usable)
        if len(poor):
            raise InputError(
                f"the normal class {photos.classes[poor[0]]!r} has too few photos for examples "
                "and a test; give fewer --shots, or another split"
            )
    return splits


def _protocol(choice: AnomalyChoice) -> Protocol:
    return "splits" if choice.normal or choice.splits is not None else choice.protocol


def _bench(
    collection: Collection,
    photos: LabelledPhotos,
    splits: Sequence[Split],
    *,
    usable: IntArray,
    choice: AnomalyChoice,
    sweep: Sweep | None,
) -> Bench:
    texts = choice.texts
    names = [photos.classes[number] for number in usable]
    if texts.label_embeddings is None:
        prompted = embedded_names(collection, list(map(spoken, names)), template=texts.template)
    else:
        prompted = embedded_names(collection, names, given=texts.label_embeddings)
    dictionary = embedded_dictionary(
        collection,
        names=texts.dictionary,
        template=texts.template,
        given=texts.dictionary_embeddings,
    )
    k = max(choice.k, *(sweep.counts if sweep is not None and sweep.name == "K" else (1,)))
    if k > len(dictionary.names):
        raise InputError(f"K must be in [1, {len(dictionary.names)}], the dictionary, got {k}")
    vectors = {space: _vectors(collection, photos, space) for space in _spaces(collection, choice)}
    nearest = nearest_texts(vectors["clip"], dictionary.embeddings, k=k)
    n_kept = _reserved(choice, sweep)
    return Bench(photos, usable, splits, n_kept, vectors, prompted, dictionary, nearest)


def _spaces(collection: Collection, choice: AnomalyChoice) -> list[Space]:
    default = collection.store.info.model.default_image_space
    return list(dict.fromkeys(("clip", default, *choice.spaces)))


def _vectors(collection: Collection, photos: LabelledPhotos, space: Space) -> FloatArray:
    placed = centred(collection.space_map(space), collection.store)
    return labelled_vectors(collection, photos.labels, placed).vectors


def _scorers(
    choice: AnomalyChoice, sweep: Sweep | None, *, spaces: Sequence[Space]
) -> list[Scorer]:
    """Return the rows of the table, those that share examples and K side by side."""
    bliss = Scorer(BLISS, "clip", None, choice.shots, choice.k, choice.external_weight)
    scorers = [replace(bliss, method=method) for method in (BLISS, INTERNAL, EXTERNAL)]
    scorers += [replace(bliss, method=NEIGHBOUR, space=space) for space in spaces]
    scorers.append(replace(bliss, method=TEXT))
    if sweep is None:
        return scorers
    for swept in _swept(bliss, sweep):
        scorers.append(swept)
        if sweep.name == "shots":
            scorers.append(replace(swept, method=INTERNAL))
            scorers += [replace(swept, method=NEIGHBOUR, space=space) for space in spaces]
    return scorers


def _swept(bliss: Scorer, sweep: Sweep) -> Iterator[Scorer]:
    changed: Sequence[Scorer]
    if sweep.name == "lambda":
        changed = [replace(bliss, external_weight=value) for value in sweep.numbers]
    elif sweep.name == "K":
        changed = [replace(bliss, k=value) for value in sweep.counts]
    else:
        changed = [replace(bliss, shots=value) for value in sweep.counts]
    for value, scorer in zip(sweep.values, changed, strict=True):
        yield replace(scorer, setting=f"{sweep.name}={shown_value(value)}")


def _sizes(draw: Draw) -> tuple[float, float]:
    """Return how many normal and anomalous photos a split is tested on, on average."""
    outliers = [tested_in(draw, split)[1] for split in draw.bench.splits]
    n_anomalous = float(np.mean([is_outlier.sum() for is_outlier in outliers]))
    return float(np.mean([len(is_outlier) for is_outlier in outliers])) - n_anomalous, n_anomalous


def _rows_without_examples(
    collection: Collection, draw: Draw, choice: AnomalyChoice
) -> Iterable[AnomalyRow]:
    """Rate the references without examples on the photos of the first draw."""
    bench = draw.bench
    scoring = CorrectedScoring(bench.dictionary.embeddings, choice.external_weight, choice.k)
    by_texts = references_without_examples(collection, scoring)
    by_neighbours = neighbours_without_examples(k=choice.k)
    references: list[tuple[str, Space, Rate]] = [
        *((name, "clip", rate) for name, rate in by_texts.items()),
        *((NOTHING_NEIGHBOURS, space, by_neighbours) for space in bench.vectors),
    ]
    for method, space, rate in references:
        rated = []
        for split in bench.splits:
            rows, is_outlier = tested_in(draw, split)
            labels = bench.labels.embeddings[np.searchsorted(bench.usable, split.normal)]
            scores = rate(bench.vectors[space][draw.tested[rows]], labels)
            rated.append((auroc(scores, is_outlier), fpr_at_95_tpr(scores, is_outlier)))
        scorer = Scorer(method, space, None, None, choice.k, choice.external_weight)
        yield _row(scorer, np.array([rated]))


def _row(scorer: Scorer, rated: DoubleArray) -> AnomalyRow:
    """Return the means of (n_draws, n_splits, 2) values, and how they spread."""
    return AnomalyRow(
        method=scorer.method,
        space=scorer.space,
        setting=scorer.setting,
        auroc=float(rated[..., 0].mean()),
        auroc_std_splits=_std(rated[..., 0].mean(axis=0)),
        auroc_std_draws=_std(rated[..., 0].mean(axis=1)),
        fpr_at_95_tpr=float(rated[..., 1].mean()),
        fpr_at_95_tpr_std_splits=_std(rated[..., 1].mean(axis=0)),
        fpr_at_95_tpr_std_draws=_std(rated[..., 1].mean(axis=1)),
    )


def _std(values: DoubleArray) -> float | None:
    return None if len(values) == 1 else float(values.std())


def _published(classes: Sequence[str], choice: AnomalyChoice) -> list[PublishedScore]:
    """Return the paper's figures where classes and protocol are the paper's."""
    note = "the paper's best over its protocols and models (arXiv:2407.17083)"
    is_papers = choice.splits == "cifar10-6" or not (choice.normal or choice.splits)
    if is_cifar10(classes) and is_papers:
        return [PublishedScore(method="BLISS, CIFAR-10", measure="AUROC", value=0.991, note=note)]
    if is_cifar100(classes) and choice.splits == "cifar100-20":
        return [PublishedScore(method="BLISS, CIFAR-100", measure="AUROC", value=0.957, note=note)]
    return []


def _notes(
    photos: LabelledPhotos, usable: IntArray, choice: AnomalyChoice, *, sweep: Sweep | None
) -> Iterable[str]:
    n_small = len(photos.classes) - len(usable)
    if n_small and _protocol(choice) != "splits":
        fate = "only ever anomalous" if choice.protocol == "one-class" else "left out"
        yield (
            f"Too few photos for examples and a test in {n_small:,} of {len(photos.classes):,} "
            f"classes: {fate}."
        )
    if choice.without_examples:
        yield (
            "References without examples are made once a split, of the tested photos without their "
            "labels; where most of these are anomalous, that is what they take for normal."
        )
    if sweep is not None and sweep.name == "shots":
        yield "All rows are tested on the photos that the largest number of shots leaves."
