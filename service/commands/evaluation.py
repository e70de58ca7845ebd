"""`isophote eval`: retrieval and captions; anomalies and quality have a module of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands.evaluation_detection import anomaly, quality
from service.commands.options import (
    SPACES,
    axes_options,
    collection_option,
    device_option,
    json_option,
    label_embeddings_option,
    labels_option,
    settings_from,
    threads_option,
    where_option,
)
from service.lines import aligned_lines, counted, shown_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.evaluation import CaptionEvaluation, RetrievalEvaluation, UnusableSpace
    from schemas.evaluation_detection import PublishedScore
    from schemas.model import Space

_seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draw."
)


@click.group("eval")
def eval_group() -> None:
    """Measure how well a collection answers, on photos that you have labelled.

    \b
    isophote eval retrieval --labels folders
    isophote eval text --captions captions.tsv
    """


eval_group.add_command(anomaly)
eval_group.add_command(quality)


@eval_group.command()
@labels_option("--labels", "source", of="Labels of photos")
@where_option
@click.option(
    "--space",
    "spaces",
    multiple=True,
    type=click.Choice(SPACES),
    help="Space to measure; may be repeated.  [default: all the collection serves]",
)
@click.option(
    "--sweep",
    metavar="NAME=VALUES",
    help="One row per value: band=50/50,150/50 of the space isoclip (singular values left out at "
    "the top and the bottom), or axes=64:256:64 of the space semantic.",
)
@click.option(
    "--classes-min",
    type=click.IntRange(min=2),
    default=2,
    show_default=True,
    help="Photos of labels with fewer only distract.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Let so many photos ask, drawn by --seed; all are asked for.  [default: all]",
)
@_seed_option
@axes_options
@label_embeddings_option
@collection_option
@threads_option
@device_option
@json_option
def retrieval(
    source: str,
    where: str | None,
    spaces: tuple[Space, ...],
    sweep: str | None,
    classes_min: int,
    limit: int | None,
    seed: int,
    axes_labels: Path | None,
    label_embeddings: Path | None,
    axes_components: int | None,
    axes_centred: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure how well photos find others of their label.

    Each photo asks, all others answer: mean average precision (mAP), the same over the first R
    hits (mAP@R), their precision (P@R) and whether the first is right (R@1), where R is the
    number of other photos with its label. Of photos that are exactly as similar, those of other
    labels count as the first.

    \b
    isophote eval retrieval --labels folders
    isophote eval retrieval --labels labels.csv --space clip --space semantic
    isophote eval retrieval --labels column:species --sweep band=50/50,100/50,150/50
    """
    from service.axes import AxesChoice
    from service.collection import open_collection
    from service.evaluation.measured_spaces import SWEPT_SETTINGS, SpaceChoice
    from service.evaluation.retrieval import QueryChoice, evaluate_retrieval
    from service.evaluation.sweep import parse_sweep

    evaluation = evaluate_retrieval(
        open_collection(settings_from(**options)),
        source,
        where=where,
        spaces=SpaceChoice(
            spaces,
            AxesChoice(axes_labels, label_embeddings, axes_components, axes_centred),
            None if sweep is None else parse_sweep(sweep, allowed=SWEPT_SETTINGS),
        ),
        queries=QueryChoice(classes_min, limit, seed),
    )
    if as_json:
        click.echo(evaluation.model_dump_json())
    else:
        _show_retrieval(evaluation)


@eval_group.command()
@click.option(
    "--captions",
    "source",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=".tsv, .csv, .jsonl or .parquet file with columns `caption` and `path` or `image_id`, "
    "one caption a line; or a .json file as of Karpathy and Fei-Fei.",
)
@click.option("--split", metavar="NAME", help="Only captions whose column `split` says this.")
@click.option(
    "--caption-embeddings",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="NPZ with `names` (n,), the captions, and `embeddings` (n, d), instead of the model's.",
)
@where_option
@click.option(
    "--space",
    "spaces",
    multiple=True,
    type=click.Choice(["clip", "semantic"]),
    help="Space to measure; may be repeated.  [default: both]",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Photos, drawn by --seed, with all their captions.  [default: all]",
)
@_seed_option
@axes_options
@label_embeddings_option
@collection_option
@threads_option
@device_option
@json_option
def text(
    source: Path,
    split: str | None,
    caption_embeddings: Path | None,
    where: str | None,
    spaces: tuple[Space, ...],
    limit: int | None,
    seed: int,
    axes_labels: Path | None,
    label_embeddings: Path | None,
    axes_components: int | None,
    axes_centred: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure how well captions find their photos, and photos their captions.

    R@1, R@5 and R@10: the share of captions whose photo is among the first k of all captioned
    photos (t2i), and of photos that find one of their captions among the first k (i2t).

    \b
    isophote eval text --captions captions.tsv
    isophote eval text --captions dataset_flickr30k.json --split test
    isophote eval text --captions mine.csv --caption-embeddings mine.npz -c ./imported
    """
    from service.axes import AxesChoice
    from service.collection import open_collection
    from service.evaluation.captions import CaptionChoice, evaluate_captions
    from service.evaluation.measured_spaces import SpaceChoice

    evaluation = evaluate_captions(
        open_collection(settings_from(**options)),
        source,
        where=where,
        spaces=SpaceChoice(
            spaces, AxesChoice(axes_labels, label_embeddings, axes_components, axes_centred)
        ),
        captions=CaptionChoice(split, limit, seed, caption_embeddings),
    )
    if as_json:
        click.echo(evaluation.model_dump_json())
    else:
        _show_captions(evaluation)


def _show_retrieval(evaluation: RetrievalEvaluation) -> None:

    header = ["space", "dims", "mAP", "mAP@R", "P@R", "R@1"]
    rows = [
        [
            " ".join(filter(None, [row.space, row.setting])),
            str(row.n_dimensions),
            shown_share(row.mean_average_precision),
            shown_share(row.mean_average_precision_at_r),
            shown_share(row.precision_at_r),
            shown_share(row.recall_at_1),
        ]
        for row in evaluation.rows
    ]
    for line in aligned_lines([header, *rows]):
        click.echo(line)
    drawn = "" if evaluation.seed is None else f", drawn by seed {evaluation.seed}"
    click.echo(
        f"{counted(evaluation.n_queries, 'query', 'queries')} of "
        f"{counted(evaluation.n_labels, 'label')}{drawn}, among "
        f"{counted(evaluation.n_photos, 'photo')} with "
        f"{counted(evaluation.n_distractors, 'distractor')}; {evaluation.seconds:.1f} s.",
        err=True,
    )
    _show_left_out(evaluation.n_outside, "label")
    _show_unusable(evaluation.unusable)
    _show_published(
        evaluation.published,
        "Published, for other photos; compare the gains and not the values:",
    )


def _show_captions(evaluation: CaptionEvaluation) -> None:

    ks = list(evaluation.rows[0].text_to_image)
    header = ["space", "dims", *(f"t2i@{k}" for k in ks), *(f"i2t@{k}" for k in ks)]
    rows = [
        [
            row.space,
            str(row.n_dimensions),
            *(shown_share(row.text_to_image[k]) for k in ks),
            *(shown_share(row.image_to_text[k]) for k in ks),
        ]
        for row in evaluation.rows
    ]
    for line in aligned_lines([header, *rows]):
        click.echo(line)
    drawn = "" if evaluation.seed is None else f", drawn by seed {evaluation.seed}"
    click.echo(
        f"{counted(evaluation.n_captions, 'caption')} of {counted(evaluation.n_photos, 'photo')}"
        f"{drawn}; {evaluation.seconds:.1f} s.",
        err=True,
    )
    _show_left_out(evaluation.n_outside, "caption")
    _show_unusable(evaluation.unusable)
    _show_published(
        evaluation.published, "Published; to be compared only where the photos are the same:"
    )


def _show_left_out(count: int, what: str) -> None:

    if count:
        click.echo(
            f"Left out, as the collection does not have their photos: {counted(count, what)}.",
            err=True,
        )


def _show_unusable(unusable: Sequence[UnusableSpace]) -> None:
    from service.terminal import shown_path

    for space in unusable:
        name = " ".join(filter(None, [space.space, space.setting]))
        click.echo(f"Not measured: {name}: {shown_path(space.reason)}.", err=True)


def _show_published(published: Sequence[PublishedScore], heading: str) -> None:

    if published:
        click.echo(heading, err=True)
    for score in published:
        click.echo(
            f"{shown_share(score.value):>6}  {score.measure}, {score.method}; {score.note}",
            err=True,
        )
