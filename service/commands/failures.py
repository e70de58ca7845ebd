"""`isophote failures`: what could not be indexed, and trying it again."""

import sys
from pathlib import Path
from typing import Any, get_args

import click

from schemas.errors import Stage
from service.commands.options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    collection_option,
    device_option,
    export_option,
    file_seconds_option,
    json_option,
    max_pixels_option,
    settings_from,
    threads_option,
)


@click.command()
@click.option("--stage", type=click.Choice(get_args(Stage)), help="Only those that failed there.")
@click.option(
    "--where",
    metavar="SQL",
    help="Only those for which this holds: a condition on root, path (relative to root), stage, "
    "reason, error_class, file_size (bytes), mtime_ns and failed_at.",
)
@export_option
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
        sys.exit(EXIT_INTERRUPTED)
    if retry.ingest.n_failed or retry.unreached:
        sys.exit(EXIT_FAILED)
