"""`isophote index`: bring a collection up to date, once or continuously."""

import signal
import sys
from pathlib import Path
from typing import Any

import click

from service.commands.options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    collection_option,
    device_option,
    file_seconds_option,
    json_option,
    max_pixels_option,
    settings_from,
    threads_option,
)
from service.commands.signals import stop_like_ctrl_c


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@collection_option
@click.option(
    "--model",
    metavar="NAME",
    help="Model of a new collection: pocket, an open_clip architecture, local-dir:FOLDER, or a "
    "folder made by `isophote model export`.  [default: pocket]",
)
@click.option("--pretrained", metavar="TAG", help="open_clip's tag, or a checkpoint file.")
@click.option(
    "--band",
    nargs=2,
    type=click.IntRange(min=0),
    metavar="TOP BOTTOM",
    help="Singular values that the intra-modal projector of a new collection leaves out.",
)
@click.option(
    "--quality-mode",
    type=click.Choice(["single", "crops"]),
    help="Score the quality of a new collection from the pass that embeds a photo, or as the mean "
    "over up to 52 crops of it, which takes as many passes.  [default: single]",
)
@click.option(
    "--crop-edges",
    type=click.Choice(["pad", "drop"]),
    help="With --quality-mode crops: mirror the right and bottom edges so that every pixel counts, "
    "or drop what fills no crop, as the method's authors do.  [default: pad]",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Photos per forward pass.")
@max_pixels_option
@file_seconds_option
@click.option("--confirm-deletions", is_flag=True, help="Forget files that are gone, however many.")
@click.option("--watch", is_flag=True, help="Index, then keep following changes until Ctrl-C.")
@click.option(
    "--rescan",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="With --watch: look through all folders so often in any case, as network drives tell no "
    "changes.  [default: 600]",
)
@threads_option
@device_option
@json_option
def index(
    paths: tuple[Path, ...],
    model: str | None,
    pretrained: str | None,
    band: tuple[int, int] | None,
    quality_mode: Any,
    crop_edges: Any,
    batch_size: int | None,
    confirm_deletions: bool,
    watch: bool,
    rescan: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Index folders of photos, or bring indexed ones up to date.

    Without a PATH all folders of the collection are looked through again. Files that did not
    change are skipped; the exit status is 1 if any photo failed.

    \b
    isophote index ~/Pictures
    isophote index /photos --model ViT-B-32 --pretrained openai -c ./vit.isophote
    isophote index /photos --model ViT-B-32 --quality-mode crops -c ./crops.isophote
    isophote index ~/Pictures --watch
    """
    from schemas.collection import ModelSource
    from schemas.model import Band
    from service.indexing import QualityChoice, index_photos
    from service.terminal import show_ingest, show_progress

    if rescan is not None and not watch:
        raise click.UsageError("--rescan needs --watch")
    if watch:
        stop_like_ctrl_c(signal.SIGTERM)
    if pretrained is not None and model is None:
        raise click.UsageError("--pretrained needs --model")
    settings = settings_from(
        **options,
        batch_size=batch_size,
        gpu_batch_size=batch_size,
    )
    with show_progress() as report:
        summary = index_photos(
            paths,
            settings=settings,
            source=None if model is None else ModelSource(model=model, pretrained=pretrained),
            band=None if band is None else Band(k_top=band[0], k_bottom=band[1]),
            quality=QualityChoice(quality_mode, crop_edges),
            confirm_deletions=confirm_deletions,
            report=report,
        )
    if as_json:
        click.echo(summary.model_dump_json())
    show_ingest(summary, with_counts=not as_json)
    if watch:
        _follow(paths, summary, settings=settings, rescan=rescan, as_json=as_json)
        return
    if summary.interrupted:
        sys.exit(EXIT_INTERRUPTED)
    if summary.n_failed or summary.held_deletions:
        sys.exit(EXIT_FAILED)


def _follow(
    paths: tuple[Path, ...], first: Any, *, settings: Any, rescan: float | None, as_json: bool
) -> None:
    """Show what a watch does until it is interrupted."""
    from service.terminal import show_progress, show_watch_notice, show_watch_run
    from service.watching import WatchPace, follow_changes

    try:
        if not first.interrupted:
            click.echo("Watching for changes; press Ctrl-C to stop.", err=True)
            for told in follow_changes(
                paths,
                first=first,
                settings=settings,
                reporting=show_progress,
                pace=WatchPace() if rescan is None else WatchPace(rescan_seconds=rescan),
            ):
                if isinstance(told, str):
                    show_watch_notice(told)
                else:
                    show_watch_run(told, as_json=as_json)
    except KeyboardInterrupt:
        pass
    click.echo("Stopped watching.", err=True)
