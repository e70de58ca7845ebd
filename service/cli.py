"""The command `isophote`: parse, call, print.

Results go to stdout, progress and messages to stderr. Exit status: 0 done, 1 something a user
can mend, 2 wrong usage, 130 interrupted.
"""

import signal
import sys
from pathlib import Path
from typing import Any, get_args

import click

from schemas.errors import Stage
from service.commands.anomalies import anomalies
from service.commands.diagnosis import diagnose
from service.commands.evaluation import eval_group
from service.commands.exchange import export_command, import_command
from service.commands.labels import label
from service.commands.options import (
    SPACES,
    axes_options,
    collection_option,
    device_option,
    file_seconds_option,
    json_option,
    max_pixels_option,
    settings_from,
    space_or_axes,
    threads_option,
    top_k_option,
    where_option,
)
from service.commands.quality import quality

# Everything heavier is imported inside the commands: `isophote --help` answers in under 0.3 s.

_EXIT_FAILED = 1
_EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    # Names on disk need not be UTF-8, and a terminal need not show every character.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name="isophote")


class _IsophoteGroup(click.Group):
    """Ends with one line instead of a traceback on what a user can mend, or broke off."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command; see click."""
        from schemas.errors import IsophoteError

        try:
            return super().invoke(context)
        except IsophoteError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(_EXIT_INTERRUPTED)


@click.group(
    cls=_IsophoteGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="isophote")
def cli() -> None:
    """Find, judge and clean collections of photos.

    \b
    isophote index ~/Pictures
    isophote search "a dog on the beach"
    isophote search holiday.jpg --where "quality > 0.5"
    """


@cli.command()
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
        _stop_like_ctrl_c(signal.SIGTERM)
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
        sys.exit(_EXIT_INTERRUPTED)
    if summary.n_failed or summary.held_deletions:
        sys.exit(_EXIT_FAILED)


@cli.command()
@click.argument("queries", nargs=-1, metavar="QUERY...")
@click.option(
    "--minus", multiple=True, metavar="QUERY", help="Lead away from this query; may be repeated."
)
@top_k_option
@where_option
@click.option(
    "--space",
    type=click.Choice(SPACES),
    help="Space photos are compared in.  [default: clip with words, else the model's best]",
)
@axes_options
@click.option(
    "--label-embeddings",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="NPZ with `names` (n,) and `embeddings` (n, d): of the axes, and of words in a QUERY that "
    "are among the names.",
)
@click.option("--include-self", is_flag=True, help="Let a photo of the collection find itself.")
@collection_option
@threads_option
@device_option
@json_option
def search(
    queries: tuple[str, ...],
    minus: tuple[str, ...],
    top_k: int,
    where: str | None,
    space: Any,
    axes_labels: Path | None,
    axes_components: int | None,
    axes_centred: bool,
    label_embeddings: Path | None,
    include_self: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Find photos by words, by photos, or by both together.

    A QUERY is the path of a photo, id:N for a photo of the collection, or words. Several are
    added up; ^WEIGHT at the end of one makes it count more or less. With --space semantic, photos
    are alike as far as class names tell them apart.

    \b
    isophote search "a dog on the beach"
    isophote search holiday.jpg "at night^0.5" --minus people
    isophote search id:17 --where "taken_at > timestamp '2023-01-01'"
    isophote search id:17 --space semantic --axes names.txt
    """
    from service.collection import open_collection
    from service.search import parse_query, with_given_embeddings
    from service.search import search as find
    from service.terminal import show_hits

    if not queries:
        raise click.UsageError("give at least one QUERY: words, a photo, or id:N")
    compared_in = space_or_axes(
        space,
        axes_labels=axes_labels,
        axes_components=axes_components,
        axes_centred=axes_centred,
        label_embeddings=label_embeddings,
    )
    parsed = [parse_query(text) for text in queries]
    parsed += [parse_query(text, sign=-1) for text in minus]
    collection = open_collection(settings_from(**options))
    if label_embeddings is not None:
        parsed = with_given_embeddings(collection, parsed, label_embeddings)
    found = find(
        collection,
        parsed,
        top_k=top_k,
        where=where,
        space=compared_in,
        include_self=include_self,
    )
    if as_json:
        click.echo(found.model_dump_json())
    else:
        show_hits(found)


@cli.command()
@collection_option
@json_option
def info(collection: str | None, as_json: bool) -> None:
    """Show what a collection holds and what it was made with.

    \b
    isophote info
    isophote info -c ./holiday.isophote --json
    """
    from service.collection import collection_report, open_collection
    from service.terminal import show_collection

    report = collection_report(open_collection(settings_from(collection=collection)))
    if as_json:
        click.echo(report.model_dump_json())
    else:
        show_collection(report)


@cli.command()
@click.option("--stage", type=click.Choice(get_args(Stage)), help="Only those that failed there.")
@click.option(
    "--where",
    metavar="SQL",
    help="Only those for which this holds: a condition on root, path (relative to root), stage, "
    "reason, error_class, file_size (bytes), mtime_ns and failed_at.",
)
@click.option(
    "--export",
    "target",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write them into a .csv, .jsonl or .parquet file.",
)
@click.option(
    "--print0", "-0", is_flag=True, help="Print paths only, each ended by NUL, as for xargs -0."
)
@click.option(
    "--retry", is_flag=True, help="Try them again; the exit status is 1 if any fails again."
)
@max_pixels_option
@file_seconds_option
@collection_option
@threads_option
@device_option
@json_option
def failures(
    target: Path | None,
    print0: bool,
    retry: bool,
    as_json: bool,
    stage: Any,
    where: str | None,
    **options: Any,
) -> None:
    """List the files that could not be indexed, and why.

    `isophote index` tries them again when they change. With --retry they are tried now, under the
    limits given with it.

    \b
    isophote failures
    isophote failures --stage decode --where "path like '%.heic'" --export broken.csv
    isophote failures --print0 | xargs -0 ls -l
    isophote failures --retry --max-pixels 400000000
    """
    from service.collection import open_collection
    from service.failures import export_failures, list_failures, nul_separated_paths
    from service.terminal import show_exported_failures, show_failures

    if [retry, print0, target is not None, as_json and not retry].count(True) > 1:
        raise click.UsageError(
            "give one of --export, --print0, --retry and --json; only the last two go together"
        )
    collection = open_collection(settings_from(**options))
    if retry:
        _retry_failures(collection, stage=stage, where=where, as_json=as_json)
        return
    listed = list_failures(collection, stage=stage, where=where)
    if target is not None:
        export_failures(listed, target)
        show_exported_failures(len(listed.failures), target)
    elif print0:
        click.echo(nul_separated_paths(listed), nl=False)
    elif as_json:
        click.echo(listed.model_dump_json())
    else:
        show_failures(listed.failures, is_selection=bool(stage or where))


def _retry_failures(collection: Any, *, stage: Any, where: str | None, as_json: bool) -> None:
    from service.failures import retry_failures
    from service.terminal import show_no_failures, show_progress, show_retry

    with show_progress() as report:
        retry = retry_failures(collection, stage=stage, where=where, report=report)
    if as_json:
        click.echo(retry.model_dump_json())
    if not retry.n_selected:
        show_no_failures(is_selection=bool(stage or where))
        return
    show_retry(retry, with_counts=not as_json)
    if retry.ingest.interrupted:
        sys.exit(_EXIT_INTERRUPTED)
    if retry.ingest.n_failed or retry.unreached:
        sys.exit(_EXIT_FAILED)


@cli.command()
@click.argument("folder", default="data", type=click.Path(path_type=Path))
@collection_option
@threads_option
def demo(folder: Path, **options: Any) -> None:
    """Index the sample photos and show what can be asked of them.

    FOLDER is the `data` folder of a checkout of Isophote, where the command is meant to be run.

    \b
    isophote demo
    """
    from service.demo import run_demo
    from service.terminal import show_demo, show_progress

    settings = settings_from(**options)
    with show_progress() as report:
        shown = run_demo(folder, settings=settings, report=report)
    show_demo(shown)


@cli.group()
def model() -> None:
    """Prepare models."""


@model.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--model", "name", required=True, metavar="NAME", help="As for `isophote index`.")
@click.option("--pretrained", metavar="TAG", help="open_clip's tag, or a checkpoint file.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    show_default=True,
    help="Of the image tower; int8 is smaller and faster.",
)
@click.option(
    "--photos",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of photos: half of them calibrate int8, the others compare the two models.",
)
@json_option
def export(
    target: Path,
    name: str,
    pretrained: str | None,
    precision: Any,
    photos: Path,
    as_json: bool,
) -> None:
    """Write an open_clip model as ONNX into the folder TARGET, to run without torch.

    Prints how well the written model agrees with the original: cosine similarity of their
    embeddings, the lowest and the mean.

    \b
    isophote model export ./vit-b-32 --model ViT-B-32 --pretrained openai --photos ~/Pictures
    isophote index ~/Pictures --model ./vit-b-32
    """
    from service.model_export import export_model
    from service.terminal import show_agreement

    agreement = export_model(
        target,
        name=name,
        pretrained=pretrained,
        precision=precision,
        photos=photos,
        settings=settings_from(),
    )
    if as_json:
        click.echo(agreement.model_dump_json())
    else:
        show_agreement(agreement)


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


def _stop_like_ctrl_c(number: int) -> None:
    """Let a signal, as a service is stopped by, do what Ctrl-C does."""

    def interrupt(*_: object) -> None:
        # A shell starts background jobs with Ctrl-C ignored.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)

    signal.signal(number, interrupt)


cli.add_command(anomalies)
cli.add_command(diagnose)
cli.add_command(eval_group)
cli.add_command(export_command)
cli.add_command(import_command)


cli.add_command(label)
cli.add_command(quality)
