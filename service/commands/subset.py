"""`isophote subset`: choose photos that cover a collection, or leave out those that repeat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands.options import (
    SPACES,
    axes_options,
    collection_option,
    device_option,
    export_option,
    json_option,
    label_embeddings_option,
    settings_from,
    space_or_axes,
    threads_option,
    where_option,
)
from service.lines import counted

if TYPE_CHECKING:
    from schemas.subset import Coverage, Subset, SubsetRest, SubsetSummary


@click.command()
@click.option("--count", type=click.IntRange(min=1), help="Choose so many photos.")
@click.option(
    "--keep",
    metavar="SHARE",
    type=click.FloatRange(0, 1, min_open=True),
    help="Choose this share of the photos, as in 0.8.",
)
@click.option(
    "--method",
    type=click.Choice(["k-centre", "facility-location", "semdedup"]),
    help="k-centre: no photo is far from a chosen one, so odd ones are in. facility-location: "
    "typical photos of whatever there is much of. semdedup: all but those most similar to another, "
    "as for a training set.  [default: k-centre with --count, semdedup with --keep]",
)
@click.option("--rest", is_flag=True, help="Print the photos that were not chosen instead.")
@where_option
@click.option(
    "--space",
    type=click.Choice(SPACES),
    help="Space photos are compared in.  [default: the model's best]",
)
@axes_options
@label_embeddings_option
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the samples and cells that large collections need, and of the random choice that the "
    "choice is compared with.",
)
@export_option
@click.option(
    "--print0", "-0", is_flag=True, help="Print paths only, each ended by NUL, as for xargs -0."
)
@collection_option
@threads_option
@device_option
@json_option
def subset(
    count: int | None,
    keep: float | None,
    method: Any,
    rest: bool,
    where: str | None,
    space: Any,
    axes_labels: Path | None,
    axes_components: int | None,
    axes_centred: bool,
    label_embeddings: Path | None,
    seed: int,
    target: Path | None,
    print0: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Choose photos that stand for all, or all but those that repeat others.

    Each line is a chosen photo: rank, how many photos it is the nearest chosen one of, id, path.
    With --rest it is one left out: cosine to the nearest chosen photo, the id of that, id, path.
    Nothing is moved or deleted.

    \b
    isophote subset --count 500
    isophote subset --count 20 --method facility-location --where "path like '%2023%'"
    isophote subset --keep 0.8 --export training.csv
    isophote subset --keep 0.8 --rest
    isophote subset --count 500 --print0 | tar --null -T - -cf sample.tar
    """
    from service.collection import open_collection
    from service.subset import (
        SubsetChoice,
        choose_subset,
        chosen_photos,
        export_subset,
        left_out_photos,
        nul_separated_paths,
    )

    if (count is None) == (keep is None):
        raise click.UsageError("give either --count or --keep")
    if [print0, target is not None, as_json].count(True) > 1:
        raise click.UsageError("give one of --export, --print0 and --json")
    compared_in = space_or_axes(
        space,
        axes_labels=axes_labels,
        axes_components=axes_components,
        axes_centred=axes_centred,
        label_embeddings=label_embeddings,
    )
    collection = open_collection(settings_from(**options))
    choice = SubsetChoice(count, keep, method, compared_in, seed)
    chosen = choose_subset(collection, choice, where=where)
    listed = (left_out_photos if rest else chosen_photos)(collection, chosen)
    if as_json:
        click.echo(listed.model_dump_json())
        return
    if target is not None:
        export_subset(listed, target)
        _show_written(len(listed.photos), target)
    elif print0:
        click.echo(nul_separated_paths(listed), nl=False)
    else:
        _show_photos(listed)
    _show_summary(listed.summary)


def _show_written(count: int, target: Path) -> None:
    from service.terminal import shown_path

    click.echo(f"Wrote {counted(count, 'photo')} to {shown_path(str(target))}.")


def _show_photos(listed: Subset | SubsetRest) -> None:
    from schemas.subset import Subset
    from service.terminal import shown_path

    if isinstance(listed, Subset):
        for kept in listed.photos:
            numbers = f"{kept.rank:6}  {kept.n_covered:6}"
            click.echo(f"{numbers}  {f'id:{kept.image_id}':<9} {shown_path(kept.path)}")
    else:
        for dropped in listed.photos:
            numbers = f"{dropped.similarity:6.3f}  {f'id:{dropped.nearest_id}':<9}"
            click.echo(f"{numbers} {f'id:{dropped.image_id}':<9} {shown_path(dropped.path)}")


def _show_summary(summary: SubsetSummary) -> None:
    """Say on stderr how the photos were chosen, and what that bought."""
    told = (
        f"Chose {summary.n_chosen:,} of {counted(summary.n_photos, 'photo')} by {summary.method}, "
        f"compared in the space {summary.space}."
    )
    if summary.n_sampled is not None and summary.n_sampled < summary.n_photos:
        told += (
            f" They come from a random sample of {summary.n_sampled:,} (seed {summary.seed}) and "
            "gave way to the most typical of the photos around each."
        )
    click.echo(told, err=True)
    if summary.threshold is not None:
        cell = "photo" if summary.n_cells == 1 else f"one of its cell, of {summary.n_cells:,}"
        click.echo(
            f"Each photo left out has a cosine of at least {summary.threshold:.3f} to another "
            f"{cell}.",
            err=True,
        )
    _show_coverage(summary.coverage, summary.random_coverage, seed=summary.seed)


def _show_coverage(ours: Coverage | None, at_random: Coverage | None, *, seed: int) -> None:
    if ours is None or at_random is None:
        click.echo("No photo is left out.", err=True)
        return
    click.echo(
        "Cosine of a photo left out to the nearest chosen one: "
        f"{ours.mean_similarity:.3f} on average, {ours.lowest_similarity:.3f} at least. "
        f"Of a random choice of as many (seed {seed}): {at_random.mean_similarity:.3f} and "
        f"{at_random.lowest_similarity:.3f}.",
        err=True,
    )
