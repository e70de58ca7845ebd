"""`isophote diagnose`: pictures of how photos and texts lie in the spaces of a collection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands.options import (
    axes_options,
    collection_option,
    device_option,
    dictionary_embeddings_option,
    dictionary_option,
    json_option,
    label_embeddings_option,
    labels_option,
    settings_from,
    template_option,
    threads_option,
    where_option,
)

if TYPE_CHECKING:
    from schemas.diagnosis import Diagnosis


@click.command()
@click.argument("target", metavar="FOLDER", type=click.Path(path_type=Path))
@labels_option("--labels", of="Labels of photos", required=False)
@click.option(
    "--names",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Names of labels, one a line.  [default: those of --labels]",
)
@dictionary_option
@dictionary_embeddings_option
@template_option
@click.option(
    "--mos",
    "opinions",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Opinion scores of photos: a table with the columns path and mos, or the file of "
    "KonIQ-10k, SPAQ, KADID-10k or TID2013.",
)
@axes_options
@label_embeddings_option
@where_option
@click.option(
    "--limit",
    type=click.IntRange(min=2),
    default=2000,
    show_default=True,
    help="Draw at most so many photos.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all draws."
)
@collection_option
@threads_option
@device_option
@json_option
def diagnose(
    target: Path,
    labels: str | None,
    names: Path | None,
    label_embeddings: Path | None,
    dictionary: Path | None,
    dictionary_embeddings: Path | None,
    template: str | None,
    opinions: Path | None,
    axes_labels: Path | None,
    axes_components: int | None,
    axes_centred: bool,
    where: str | None,
    limit: int,
    seed: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw how photos and texts lie in each space, with help to read it.

    Writes FOLDER/report.html, a page that needs nothing besides itself, and each plot as PNG. A
    plot that needs what was not given is left out, and the last lines say why.

    \b
    isophote diagnose ./diagnosis --labels folders
    isophote diagnose ./diagnosis --labels labels.csv --mos scores.csv --limit 5000
    """
    from service.axes import AxesChoice
    from service.collection import open_collection
    from service.diagnosis.diagnosing import diagnose as draw
    from service.diagnosis.material import DiagnosisChoice

    choice = DiagnosisChoice(
        labels=labels,
        names=names,
        label_embeddings=label_embeddings,
        dictionary=dictionary,
        dictionary_embeddings=dictionary_embeddings,
        template=template,
        opinions=opinions,
        axes=AxesChoice(axes_labels, label_embeddings, axes_components, axes_centred),
        where=where,
        n_images=limit,
        seed=seed,
    )
    diagnosis = draw(open_collection(settings_from(**options)), target, choice)
    if as_json:
        click.echo(diagnosis.model_dump_json())
    else:
        _show_diagnosis(diagnosis)


def _show_diagnosis(diagnosis: Diagnosis) -> None:
    """Print each plot with its file, and on stderr those left out."""
    from service.terminal import shown_path

    click.echo(f"{shown_path(diagnosis.report)}  the report")
    for plot in diagnosis.plots:
        click.echo(f"{shown_path(plot.file)}  {plot.title}")
    for missing in diagnosis.left_out:
        click.echo(f"Left out: {missing.title}: {shown_path(missing.reason)}.", err=True)
