"""The command `isophote`: parse, call, print.

Results go to stdout, progress and messages to stderr. Exit status: 0 done, 1 something a user
can mend, 2 wrong usage, 130 interrupted.
"""

import sys
from pathlib import Path
from typing import Any

import click

from service.commands.anomalies import anomalies
from service.commands.diagnosis import diagnose
from service.commands.duplicates import duplicates
from service.commands.evaluation import eval_group
from service.commands.exchange import export_command, import_command
from service.commands.failures import failures
from service.commands.indexing import index
from service.commands.labels import label
from service.commands.models import model
from service.commands.options import (
    EXIT_INTERRUPTED,
    SPACES,
    axes_options,
    collection_option,
    device_option,
    json_option,
    settings_from,
    space_or_axes,
    threads_option,
    top_k_option,
    where_option,
)
from service.commands.quality import quality
from service.commands.serving import serve
from service.commands.subset import subset
from service.commands.trash import undo

# Everything heavier is imported inside the commands: `isophote --help` answers in under 0.3 s.


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
            sys.exit(EXIT_INTERRUPTED)


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


for _command in (
    anomalies,
    diagnose,
    duplicates,
    eval_group,
    export_command,
    failures,
    import_command,
    index,
    label,
    model,
    quality,
    serve,
    subset,
    undo,
):
    cli.add_command(_command)
