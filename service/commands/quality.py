"""`isophote quality`: rank photos by their technical quality, and find thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from service.commands.options import (
    collection_option,
    json_option,
    settings_from,
    where_option,
)

if TYPE_CHECKING:
    from schemas.quality import QualityList, QualityThresholds


@click.group()
def quality() -> None:
    """Rank photos by technical quality and say why.

    \b
    isophote quality list --worst --percent 5
    isophote quality thresholds
    """


@quality.command("list")
@click.option(
    "--worst/--best", "is_worst", default=True, show_default=True, help="Which come first."
)
@click.option(
    "--percent",
    type=click.FloatRange(0, 100, min_open=True),
    help="List this share of the photos that match, instead of --top-k.",
)
@click.option("--top-k", "-k", type=click.IntRange(min=1), help="Photos.  [default: 10]")
@where_option
@collection_option
@json_option
def ranked(
    is_worst: bool,
    percent: float | None,
    top_k: int | None,
    where: str | None,
    collection: str | None,
    as_json: bool,
) -> None:
    """List the photos of the lowest or highest quality, with what holds each of them down.

    Each line is a photo: quality, id, reason, path. Look before you delete: the score knows
    nothing of what a picture shows.

    \b
    isophote quality list
    isophote quality list --percent 5 --where "path like '%2023%'"
    isophote quality list --best --top-k 20
    """
    from service.collection import open_collection
    from service.quality import rank_quality

    if percent is not None and top_k is not None:
        raise click.UsageError("give one of --percent and --top-k")
    listed = rank_quality(
        open_collection(settings_from(collection=collection)),
        order="worst" if is_worst else "best",
        top_k=top_k,
        percent=percent,
        where=where,
    )
    if as_json:
        click.echo(listed.model_dump_json())
    else:
        _show_list(listed)


@quality.command()
@where_option
@collection_option
@json_option
def thresholds(where: str | None, collection: str | None, as_json: bool) -> None:
    """Print what "the worst 5 %" means in this collection, as filters for --where.

    \b
    isophote quality thresholds
    isophote quality thresholds --where "format = 'JPEG'"
    """
    from service.collection import open_collection
    from service.quality import quality_thresholds

    found = quality_thresholds(open_collection(settings_from(collection=collection)), where=where)
    if as_json:
        click.echo(found.model_dump_json())
    else:
        _show_thresholds(found)


@quality.command()
@collection_option
@json_option
def recompute(collection: str | None, as_json: bool) -> None:
    """Score all photos anew from their stored pixel measures, without reading any file.

    Needed once for collections whose photos an older release scored: its formula was another.
    What it did not measure counts as typical; index the photos into a new collection to have it
    measured.

    \b
    isophote quality recompute
    """
    from service.collection import open_collection
    from service.quality import recompute_quality

    done = recompute_quality(open_collection(settings_from(collection=collection)))
    if as_json:
        click.echo(done.model_dump_json())
    else:
        click.echo(f"Of {done.n_images:,} photos {done.n_changed:,} have another quality now.")


def _show_list(listed: QualityList) -> None:
    from service.terminal import show_rated

    if not listed.photos:
        click.echo("No photo with a quality matches.", err=True)
    for photo in listed.photos:
        show_rated(photo)
    _show_unrated(listed.n_unrated)


def _show_thresholds(found: QualityThresholds) -> None:
    for threshold in found.thresholds:
        click.echo(
            f"worst {threshold.percent:>2g} %  {threshold.n_photos:>9,} photos  "
            f'--where "{threshold.where}"'
        )
    click.echo(f"Of {found.n_rated:,} photos with a quality.", err=True)
    _show_unrated(found.n_unrated)


def _show_unrated(n_unrated: int) -> None:
    if n_unrated:
        click.echo(f"{n_unrated:,} without a quality were left out.", err=True)
