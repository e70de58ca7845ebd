"""`isophote import` and `isophote export`: vectors from and for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands.options import (
    EXIT_INTERRUPTED,
    SPACES,
    axes_options,
    collection_option,
    device_option,
    json_option,
    label_embeddings_option,
    settings_from,
    space_or_axes,
    threads_option,
    where_option,
)

if TYPE_CHECKING:
    from schemas.exchange import ExportSummary, ImportSummary


_FORMATS = ("clip-retrieval", "npz", "parquet", "csv", "jsonl")


@click.command("import")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...", type=click.Path(path_type=Path))
@collection_option
@click.option(
    "--cifar10",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Embed the pictures of CIFAR-10, in its original files, instead.",
)
@click.option(
    "--cifar100",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Embed those of CIFAR-100.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "test"]),
    help="Only this split of CIFAR.  [default: both]",
)
@click.option(
    "--model",
    metavar="NAME",
    help="The model that made the vectors, as for `isophote index`: words and photos can then be "
    "searched for.",
)
@click.option("--pretrained", metavar="TAG", help="open_clip's tag, or a checkpoint file.")
@click.option("--model-id", metavar="TEXT", help="Only the name of the model.")
@click.option(
    "--logit-scale",
    type=click.FloatRange(min=0, min_open=True),
    help="What the model multiplies cosine similarities with.  [default: the model's, or 100]",
)
@click.option(
    "--unit/--raw",
    "is_unit",
    default=None,
    help="Whether the vectors lost their lengths, from which quality can be judged.  [default: "
    "unit if all lengths are within 0.001 of 1]",
)
@click.option("--vector-column", metavar="NAME", help="The vectors, if there are several columns.")
@click.option(
    "--id-column",
    metavar="NAME",
    help="What the photos are called.  [default: path, image_path, file_name, url or id]",
)
@click.option(
    "--skip-bad",
    is_flag=True,
    help="Leave out rows whose vector is missing, zero or not finite, and repeated names.",
)
@click.option(
    "--skip-known", is_flag=True, help="Leave out rows whose name the collection has already."
)
@threads_option
@device_option
@json_option
def import_command(
    sources: tuple[Path, ...],
    cifar10: Path | None,
    cifar100: Path | None,
    split: Any,
    model: str | None,
    pretrained: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Import vectors that exist already, without photos.

    A SOURCE is a folder as clip-retrieval writes it, a folder of Parquet files, or a .parquet,
    .npz or .npy file. Columns that come along can be used with --where: width, height, format,
    taken_at, camera, latitude, longitude and label fill those of photos, others are added. Vectors
    are stored with 16 bits a number, which changes cosine similarities by less than 0.001.

    \b
    isophote import ./laion -c ./laion.isophote --model ViT-B-32 --pretrained laion2b_s34b_b79k
    isophote import vectors.npz -c ./mine.isophote --model-id my-model
    isophote import --cifar10 ~/cifar-10-batches-py -c ./cifar10.isophote
    """
    from schemas.collection import ModelSource

    if pretrained is not None and model is None:
        raise click.UsageError("--pretrained needs --model")
    if [bool(sources), cifar10 is not None, cifar100 is not None].count(True) != 1:
        raise click.UsageError("give one of SOURCE, --cifar10 and --cifar100")
    source = None if model is None else ModelSource(model=model, pretrained=pretrained)
    choices = {name: options.pop(name) for name in _CHOICES}
    settings = settings_from(**options)
    if sources:
        summary = _import_vectors(sources, {**choices, "split": split}, source, settings)
    else:
        _refuse_options(choices, "are of vectors, not of CIFAR")
        summary = _import_cifar(cifar10, cifar100, split, source, settings)
    if as_json:
        click.echo(summary.model_dump_json())
    else:
        _show_import(summary)
    if summary.interrupted:
        sys.exit(EXIT_INTERRUPTED)


# Options of vectors, with what they are if not given.
_CHOICES: dict[str, Any] = {
    "model_id": None,
    "logit_scale": None,
    "is_unit": None,
    "vector_column": None,
    "id_column": None,
    "skip_bad": False,
    "skip_known": False,
}


def _import_vectors(
    sources: tuple[Path, ...], choices: dict[str, Any], source: Any, settings: Any
) -> ImportSummary:
    from service.exchange.importing import ImportChoice, import_vectors
    from service.terminal import show_progress

    if choices.pop("split") is not None:
        raise click.UsageError("--split needs --cifar10 or --cifar100")
    if source is not None and choices["model_id"] is not None:
        raise click.UsageError("give --model to open the model, or --model-id to only name it")
    choice = ImportChoice(source=source, **choices)
    with show_progress() as report:
        return import_vectors(sources, settings=settings, choice=choice, report=report)


def _import_cifar(
    cifar10: Path | None, cifar100: Path | None, split: Any, source: Any, settings: Any
) -> ImportSummary:
    from service.exchange.cifar_import import import_cifar
    from service.terminal import show_progress

    folder = cifar10 or cifar100 or Path()
    with show_progress() as report:
        return import_cifar(
            folder,
            kind="cifar10" if cifar10 is not None else "cifar100",
            splits=("train", "test") if split is None else (split,),
            source=source,
            settings=settings,
            report=report,
        )


def _refuse_options(choices: dict[str, Any], why: str) -> None:
    given = [
        f"--{name.replace('_', '-')}" if name != "is_unit" else "--unit/--raw"
        for name, chosen in choices.items()
        # Known pictures are left out in any case.
        if chosen != _CHOICES[name] and name != "skip_known"
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)} {why}")


def _show_import(summary: ImportSummary) -> None:
    """Print what an import did, and on stderr what needs attention."""
    from service.terminal import shown_path

    counts = [
        (summary.n_imported, "imported"),
        (summary.n_unusable, "without a usable vector"),
        (summary.n_repeated, "with the name of an earlier row"),
        (summary.n_known, "known already"),
        (summary.n_pending, "not reached"),
    ]
    told = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    rows = "row" if summary.n_read == 1 else "rows"
    click.echo(f"{summary.n_read:,} {rows} in {summary.seconds:.1f} s: {told or 'nothing'}.")
    lengths = "unit length" if summary.is_unit else "lengths of their own"
    click.echo(
        f"The collection {shown_path(summary.collection)} holds {summary.n_images:,} vectors of "
        f"the model {shown_path(summary.model)}. These have {summary.embedding_dim} numbers and "
        f"{lengths}."
    )
    for given, name in summary.renamed.items():
        if name != "path":
            click.echo(
                f"The column {shown_path(given)!r} is called {shown_path(name)!r} here.", err=True
            )
    for name, why in summary.left_out.items():
        click.echo(f"The column {shown_path(name)!r} was left out: it {why}.", err=True)
    if not summary.is_opened:
        click.echo(
            "The model is known by its name at most: search with id:N, and give embeddings of "
            "texts with --label-embeddings. With --model, words and photos can be embedded.",
            err=True,
        )
    if summary.interrupted:
        click.echo(
            f"Interrupted with {summary.n_pending:,} rows to go; what was committed is kept and "
            "can be searched. Run the same command with --skip-known to go on.",
            err=True,
        )


@click.command("export")
@click.argument("target", type=click.Path(path_type=Path))
@where_option
@click.option(
    "--format",
    "file_format",
    type=click.Choice(_FORMATS),
    help="Of TARGET.  [default: as its extension says; a folder as clip-retrieval writes it "
    "without one]",
)
@click.option(
    "--space",
    type=click.Choice(SPACES),
    default="clip",
    show_default=True,
    help="Of the vectors.",
)
@axes_options
@label_embeddings_option
@click.option(
    "--raw", "keeps_lengths", is_flag=True, help="Keep the lengths of the vectors; clip only."
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    help="Of the vectors.  [default: float16 for clip-retrieval, else float32]",
)
@click.option(
    "--vectors", "with_vectors", is_flag=True, help="Write vectors into CSV and JSON lines too."
)
@click.option(
    "--captions",
    "only_captions",
    is_flag=True,
    help="Write only the captions that came with imported vectors, and their embeddings: an .npz "
    "file for --caption-embeddings and --label-embeddings.",
)
@collection_option
@threads_option
@device_option
@json_option
def export_command(
    target: Path,
    where: str | None,
    file_format: Any,
    space: Any,
    axes_labels: Path | None,
    axes_components: int | None,
    axes_centred: bool,
    label_embeddings: Path | None,
    keeps_lengths: bool,
    dtype: Any,
    with_vectors: bool,
    only_captions: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write ids, columns and vectors of a collection into TARGET.

    TARGET ends with .npz, .parquet, .csv or .jsonl; without an extension it becomes a folder as
    clip-retrieval writes it. A file is replaced, a folder must not exist. Vectors have unit length;
    CSV and JSON lines have none unless asked for.

    
    isophote export photos.parquet --where "quality > 0.5"
    isophote export ./for-clip-retrieval
    isophote export photos.csv
    isophote export captions.npz --captions
    """
    from service.collection import open_collection
    from service.exchange.caption_export import export_captions
    from service.exchange.exported_rows import ExportChoice
    from service.exchange.vector_export import export_collection
    from service.terminal import show_progress

    chosen = space_or_axes(
        space,
        axes_labels=axes_labels,
        axes_components=axes_components,
        axes_centred=axes_centred,
        label_embeddings=label_embeddings,
    )
    choice = ExportChoice(
        where=where,
        space=space,
        axes=chosen if space == "semantic" else None,
        keeps_lengths=keeps_lengths,
        format=file_format,
        dtype=dtype,
        with_vectors=with_vectors,
    )
    collection = open_collection(settings_from(**options))
    with show_progress() as report:
        if only_captions:
            summary = export_captions(collection, target, where=where, report=report)
        else:
            summary = export_collection(collection, target, choice=choice, report=report)
    if as_json:
        click.echo(summary.model_dump_json())
    else:
        _show_export(summary, what="caption" if only_captions else "photo")


def _show_export(summary: ExportSummary, *, what: str) -> None:
    from service.terminal import shown_path

    vectors = "without vectors"
    if summary.space is not None:
        vectors = f"with vectors of the space {summary.space} in {summary.dtype}"
    counted = f"{summary.n_images:,} {what}" + ("" if summary.n_images == 1 else "s")
    click.echo(
        f"Wrote {counted} {vectors} and {len(summary.columns)} columns to "
        f"{shown_path(summary.target)} ({summary.n_bytes / 1e6:,.1f} MB, {summary.seconds:.1f} s)."
    )
