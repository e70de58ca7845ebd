"""`isophote eval anomaly` and `isophote eval quality`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands.options import (
    SPACES,
    collection_option,
    device_option,
    dictionary_embeddings_option,
    dictionary_option,
    json_option,
    label_embeddings_option,
    labels_option,
    settings_from,
    threads_option,
    where_option,
)
from service.lines import aligned_lines, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.evaluation_detection import (
        AnomalyEvaluation,
        AnomalyRow,
        OpinionRow,
        PublishedScore,
        QualityEvaluation,
    )

_ALL = "all"


def _parsed_shots(_: click.Context, __: click.Parameter, value: str) -> int | None:
    """Return a number of examples, None for all."""
    if value == _ALL:
        return None
    if not value.isdecimal():
        raise click.BadParameter(f"{value!r} is neither a number nor {_ALL}")
    return int(value)


@click.command()
@labels_option("--labels", "source", of="Class of each photo")
@click.option(
    "--protocol",
    type=click.Choice(["one-class", "leave-one-out"]),
    default="one-class",
    show_default=True,
    help="Each class is normal in turn, or each is the anomaly in turn.",
)
@click.option("--normal", metavar="NAMES", help="Classes that are normal, separated by commas.")
@click.option(
    "--splits",
    metavar="FILE",
    help="Splits, one a line: its normal classes, separated by commas. Also cifar10-6 and "
    "cifar100-20, those of the paper.",
)
@click.option(
    "--shots",
    callback=_parsed_shots,
    default="10",
    show_default=True,
    metavar="N|all",
    help="Examples of each normal class; all needs a column `split` with train and test.",
)
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="How often the examples are drawn.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of draws.")
@click.option(
    "--split-column/--no-split-column",
    default=True,
    show_default=True,
    help="Draw from the photos whose column `split` says train and test on those of test.",
)
@click.option(
    "--external-weight",
    type=click.FloatRange(min=0, max=1e6),
    default=0.75,
    show_default=True,
    help="Weight of the correction by the dictionary, the paper's lambda.",
)
@click.option(
    "--neighbours",
    "k",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Entries of the dictionary that correct a photo's score, the paper's K.",
)
@click.option(
    "--template",
    metavar="TEXT",
    help='Sentence around a name, {} in its place.  [default: "This is a photo of a {}"]',
)
@label_embeddings_option
@dictionary_option
@dictionary_embeddings_option
@click.option(
    "--space",
    "spaces",
    type=click.Choice(SPACES),
    multiple=True,
    help="Further space to look for the nearest example in; may be repeated.",
)
@click.option(
    "--without-examples",
    is_flag=True,
    help="Also rate references made of the names of the classes alone, and of nothing.",
)
@click.option(
    "--sweep",
    metavar="NAME=VALUES",
    help="Rate again with other values of lambda, K or shots, as in lambda=0:1:0.25 or K=1,5,10.",
)
@where_option
@collection_option
@threads_option
@device_option
@json_option
def anomaly(
    source: str,
    protocol: Any,
    normal: str | None,
    splits: str | None,
    shots: int | None,
    template: str | None,
    label_embeddings: Path | None,
    dictionary: Path | None,
    dictionary_embeddings: Path | None,
    where: str | None,
    as_json: bool,
    collection: str | None,
    threads: int | None,
    device: Any,
    split_column: bool,
    spaces: tuple[Any, ...],
    **numbers: Any,
) -> None:
    """Rate anomaly scores where some of your labels are normal and others are not.

    Rates the bias-corrected score, its parts, the distance to the nearest example and the
    similarity to the nearest label: AUROC, where .5 is guessing, and FPR@95, the share of normal
    photos flagged with 95 % of the anomalies. Both are means over splits and draws; the columns
    `splits` and `draws` are standard deviations over these.

    \b
    isophote eval anomaly --labels ~/labelled
    isophote eval anomaly --labels column:label --splits cifar10-6 --sweep lambda=0:1:0.25
    isophote eval anomaly --labels labels.csv --normal "cat,dog" --shots 5 --json
    """
    from service.collection import open_collection
    from service.evaluation.anomaly import AnomalyChoice, AnomalyTexts, evaluate_anomaly
    from service.normal_photos import ANOMALY_TEMPLATE

    if normal is not None and splits is not None:
        raise click.UsageError("give one of --normal and --splits")
    texts = AnomalyTexts(
        template=template or ANOMALY_TEMPLATE,
        label_embeddings=label_embeddings,
        dictionary=dictionary,
        dictionary_embeddings=dictionary_embeddings,
    )
    choice = AnomalyChoice(
        protocol=protocol,
        normal=() if normal is None else tuple(name.strip() for name in normal.split(",")),
        splits=splits,
        shots=shots,
        uses_split_column=split_column,
        texts=texts,
        spaces=spaces,
        **numbers,
    )
    opened = open_collection(settings_from(collection=collection, threads=threads, device=device))
    rated = evaluate_anomaly(opened, source, choice, where=where)
    if as_json:
        click.echo(rated.model_dump_json())
    else:
        _show_anomaly(rated)


@click.command()
@click.option(
    "--mos",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="Opinion scores: .csv, .tsv, .jsonl or .parquet with image_id, path or image_name, and "
    "mos; or the files of KonIQ-10k, KADID-10k, TID2013, and of SPAQ saved as CSV.",
)
@click.option(
    "--lower-is-better",
    is_flag=True,
    help="The scores are differences from a pristine picture, as the DMOS of LIVE and CSIQ.",
)
@click.option(
    "--sweep",
    metavar="NAME=VALUES",
    help="Rate again with other values of box-cox, alpha, or weights (fixed, of quality_sim), as "
    "in alpha=0,1,2 or weights=0:1:0.25.",
)
@where_option
@collection_option
@json_option
def quality(
    mos: Path,
    lower_is_better: bool,
    sweep: str | None,
    where: str | None,
    collection: str | None,
    as_json: bool,
) -> None:
    """Compare the quality measures with opinion scores of people.

    Prints rank correlations (SRCC, KRCC) and the linear one after a logistic fit (PLCC; ~ where
    the fit did not settle). Measures of which low is good are turned, so that 1 is best.

    \b
    isophote eval quality --mos koniq10k_scores_and_distributions.csv
    isophote eval quality --mos ratings.csv --sweep box-cox=0:1:0.25
    """
    from service.collection import open_collection
    from service.evaluation.quality import evaluate_quality

    rated = evaluate_quality(
        open_collection(settings_from(collection=collection)),
        mos,
        lower_is_better=lower_is_better,
        where=where,
        sweep=sweep,
    )
    if as_json:
        click.echo(rated.model_dump_json())
    else:
        _show_quality(rated)


def _show_anomaly(rated: AnomalyEvaluation) -> None:

    header = ["score [space]", "AUROC", "splits", "draws", "FPR@95", "splits", "draws"]
    for line in aligned_lines([header, *map(_anomaly_cells, rated.rows)]):
        click.echo(line)
    shots = _ALL if rated.shots is None else rated.shots
    click.echo(
        f"{counted(rated.n_classes, 'class', 'classes')}, {rated.protocol}, "
        f"{counted(len(rated.splits), 'split')}, {counted(rated.draws, 'draw')} of {shots} shots "
        f"by seed {rated.seed}; {rated.mean_normal:,.0f} normal and {rated.mean_anomalous:,.0f} "
        f"anomalous photos a split; lambda {rated.external_weight:g}, K {rated.k}, "
        f"{counted(rated.n_dictionary, 'dictionary entry', 'dictionary entries')}; "
        f"{rated.seconds:.1f} s.",
        err=True,
    )
    _show_notes(rated.notes)
    _show_published(rated.published)


def _anomaly_cells(row: AnomalyRow) -> list[str]:
    values = (
        row.auroc,
        row.auroc_std_splits,
        row.auroc_std_draws,
        row.fpr_at_95_tpr,
        row.fpr_at_95_tpr_std_splits,
        row.fpr_at_95_tpr_std_draws,
    )
    return [f"{_named(row.method, row.setting)} [{row.space}]", *map(_shown, values)]


def _show_quality(rated: QualityEvaluation) -> None:

    header = ["measure", "good is", "photos", "SRCC", "PLCC", "KRCC"]
    for line in aligned_lines([header, *map(_opinion_cells, rated.rows)]):
        click.echo(line)
    known = "" if rated.dataset is None else f" of {rated.dataset}"
    click.echo(
        f"{rated.n_matched:,} of {counted(rated.n_opinions, 'opinion')}{known} are of photos in "
        f"the collection; {rated.quality_mode} mode, quality from {rated.quality_cue}; "
        f"{rated.seconds:.1f} s.",
        err=True,
    )
    _show_notes(rated.notes)
    _show_published(rated.published)


def _opinion_cells(row: OpinionRow) -> list[str]:
    # Marked where the logistic fit did not settle.
    plcc = _shown(row.plcc) + ("~" if row.is_fitted is False else "")
    return [
        _named(row.measure, row.setting),
        row.good_is,
        f"{row.n_photos:,}",
        _shown(row.srcc),
        plcc,
        _shown(row.krcc),
    ]


def _show_notes(notes: Sequence[str]) -> None:
    from service.terminal import shown_path

    for note in notes:
        click.echo(shown_path(note), err=True)


def _show_published(published: Sequence[PublishedScore]) -> None:
    for score in published:
        click.echo(
            f"Published: {score.measure} {_shown(score.value)}, {score.method}; {score.note}.",
            err=True,
        )


def _shown(value: float | None) -> str:
    """Return a correlation or share without the zero before its point."""
    return "-" if value is None else f"{value:.3f}".replace("0.", ".", 1)


def _named(name: str, setting: str | None) -> str:
    return name if setting is None else f"{name}, {setting}"
