"""`isophote model`: prepare models."""

from pathlib import Path
from typing import Any

import click

from service.commands.options import json_option, settings_from


@click.group()
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
