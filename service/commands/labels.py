"""`isophote label`: label photos by examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.commands.options import (
    SPACES,
    axes_options,
    collection_option,
    device_option,
    json_option,
    label_embeddings_option,
    labels_option,
    settings_from,
    space_or_axes,
    threads_option,
)
from service.lines import counted

if TYPE_CHECKING:
    from schemas.labels import LabelSummary


@click.command()
@labels_option("--examples", of="Photos of each label", required=False)
@click.option(
    "--classifier",
    type=click.Choice(["prototype", "lda"]),
    default="prototype",
    show_default=True,
    help="The mean of each label's examples, or a linear discriminant, which is worth a try from "
    "some twenty examples of each on.",
)
@click.option(
    "--space",
    type=click.Choice(SPACES),
    help="Space photos are compared in.  [default: the model's best]",
)
@axes_options
@label_embeddings_option
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Give no label to photos that are less sure.",
)
@click.option(
    "--where",
    metavar="SQL",
    help="Label, or clear, only photos for which this holds; the others keep what they have.",
)
@click.option("--clear", is_flag=True, help="Remove labels instead.")
@collection_option
@threads_option
@device_option
@json_option
def label(
    examples: str | None,
    classifier: Any,
    space: Any,
    axes_labels: Path | None,
    axes_components: int | None,
    axes_centred: bool,
    label_embeddings: Path | None,
    min_confidence: float,
    where: str | None,
    clear: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Label photos by a few examples of each label.

    Writes the columns `label` and `label_confidence` (0 to 1), for --where of all commands.
    Examples in the collection are labelled as they look, like all others. Photos indexed later
    have no label until this runs again.

    \b
    isophote label --examples ./examples
    isophote label --examples labels.csv --classifier lda --min-confidence 0.5
    isophote search "in the snow" --where "label = 'dog' and label_confidence > 0.8"
    isophote label --clear
    """
    from service.collection import open_collection
    from service.labels import Labelling, clear_labels, label_photos

    if clear == (examples is not None):
        raise click.UsageError("give either --examples or --clear")
    compared_in = space_or_axes(
        space,
        axes_labels=axes_labels,
        axes_components=axes_components,
        axes_centred=axes_centred,
        label_embeddings=label_embeddings,
    )
    collection = open_collection(settings_from(**options))
    if clear or examples is None:
        cleared = clear_labels(collection, where=where)
        told = f"Removed the labels of {counted(cleared.n_cleared, 'photo')}."
        click.echo(cleared.model_dump_json() if as_json else told)
        return
    how = Labelling(classifier, compared_in, min_confidence)
    summary = label_photos(collection, examples, how=how, where=where)
    if as_json:
        click.echo(summary.model_dump_json())
    else:
        _show_summary(summary)


def _show_summary(summary: LabelSummary) -> None:
    """Print photos and examples of each label, and on stderr how far to trust them."""
    from service.terminal import shown_path

    for found in sorted(summary.labels, key=lambda found: -found.n_photos):
        examples = counted(found.n_examples, "example")
        click.echo(f"{found.n_photos:7,}  {shown_path(found.label)}  ({examples})")
    n_labelled = summary.n_photos - summary.n_unlabelled
    told = f"Labelled {n_labelled:,} of {counted(summary.n_photos, 'photo')}"
    if summary.n_unlabelled:
        told += f"; the others were less sure than {summary.min_confidence:g}"
    click.echo(f"{told}. Compared in the space {summary.space}.", err=True)
    if summary.held_out_accuracy is None:
        click.echo(
            "There are too few examples to test any of them: the confidences are rough.", err=True
        )
    else:
        n_right = round(summary.held_out_accuracy * summary.n_held_out)
        click.echo(
            f"Tested on examples held out from learning: {n_right:,} of {summary.n_held_out:,} "
            f"right ({summary.held_out_accuracy:.0%}).",
            err=True,
        )
