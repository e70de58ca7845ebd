"""Options that several commands take, and the settings they make."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

collection_option = click.option(
    "--collection",
    "-c",
    metavar="PLACE",
    help="Folder or s3://, gs://, az:// URI of the collection, else ISOPHOTE_COLLECTION, else one "
    "in your data folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Threads to use.  [default: all cores]"
)
max_pixels_option = click.option(
    "--max-pixels", type=click.IntRange(min=1), help="Refuse larger pictures.  [default: 200 MP]"
)
file_seconds_option = click.option(
    "--file-seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Give up on a file that takes longer to read, or to decode.  [default: 120]",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="Where torch models run.  [default: auto]",
)

export_option = click.option(
    "--export",
    "target",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write them into a .csv, .jsonl or .parquet file.",
)
where_option = click.option(
    "--where",
    metavar="SQL",
    help="Only photos for which this holds, as in \"quality > 0.5 and path like '%2023%'\".",
)
top_k_option = click.option(
    "--top-k", "-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits."
)
template_option = click.option(
    "--template",
    metavar="TEXT",
    help="Sentence around a class name, {} in its place.  [default: the model's]",
)
label_embeddings_option = click.option(
    "--label-embeddings",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="NPZ with `names` (n,) and `embeddings` (n, d) of the labels, instead of the model's.",
)
dictionary_option = click.option(
    "--dictionary",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Dictionary, one entry a line.  [default: the names of ImageNet-1k]",
)
dictionary_embeddings_option = click.option(
    "--dictionary-embeddings",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="NPZ with `names` (n,) and `embeddings` (n, d) of the dictionary, instead of the model's.",
)


def axes_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the space `semantic`: axes_labels, axes_components and axes_centred."""
    options = (
        click.option(
            "--axes",
            "axes_labels",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Class names that span the space `semantic`, one a line.  [default: ImageNet-1k]",
        ),
        click.option(
            "--axes-components",
            type=click.IntRange(min=1),
            help="Axes of the space `semantic`.  [default: half of the embedding's dimensions]",
        ),
        click.option(
            "--axes-centred",
            is_flag=True,
            help="Subtract the collection's mean embedding before the axes are applied.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def labels_option(*names: str, of: str, required: bool = True) -> Decorator:
    """Return an option that takes what `service.examples.read_labels` reads."""
    return click.option(
        *names,
        metavar="SOURCE",
        required=required,
        help=f"{of}: a folder with one folder of photos per label; a .csv, .tsv, .jsonl or "
        ".parquet file with the columns `label`, and `path` or `image_id`; column:NAME, a column "
        "of the collection; or folders, those that its photos lie in.",
    )


SPACES = ("clip", "isoclip", "trunk", "semantic")


def space_or_axes(
    space: Any,
    *,
    axes_labels: Path | None,
    axes_components: int | None,
    axes_centred: bool,
    label_embeddings: Path | None,
) -> Any:
    """Return the chosen space, or the AxesChoice of the space `semantic`."""
    if space != "semantic":
        if axes_labels is not None or axes_components is not None or axes_centred:
            raise click.UsageError(
                "--axes, --axes-components and --axes-centred need --space semantic"
            )
        return space
    from service.axes import AxesChoice

    return AxesChoice(axes_labels, label_embeddings, axes_components, axes_centred)


def settings_from(**options: Any) -> Any:
    """Return the settings from the environment and the options that were given."""
    from pydantic import ValidationError

    from indexer.settings import Settings

    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        fault = error.errors()[0]
        name = f"ISOPHOTE_{fault['loc'][0]}".upper()
        raise click.UsageError(f"{name} is {fault['input']!r}: {fault['msg'].lower()}") from error
