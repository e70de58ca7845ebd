"""Is Isophote faster than the loop over open_clip that one would write otherwise?

Photos of 1 and 12 megapixels are made from the sample photos, and embedded in turns by
`isophote index` and by two loops over open_clip's own transform and `encode_image`, with the same
weights (random ones, of a small architecture): one photo at a time, and in batches. The loops
start with the model open and keep vectors only; Isophote's time holds all that an index needs. An
ingest of three photos shows what of that does not grow with the photos. The vectors are compared.

    python -m tests.benchmarks.open_clip_loop
"""

import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from indexer.arrays import FloatArray
from indexer.settings import Settings, available_cores
from tests.benchmarks.machine import describe_machine
from tests.makers.enlarged import JPEG_QUALITY, photo_files, write_enlarged_photos

ARCHITECTURE = "ViT-S-32-alt"
BATCH = 32
FEW_PHOTOS = 3
# Untouched random weights give all photos nearly the same vector, and would hide a difference.
WEIGHT_NOISE = 0.05

Embed = Callable[[Path], FloatArray]


def write_model(directory: Path) -> None:
    """Save a model with random weights (seed 0) as open_clip's `local-dir:` expects it."""
    import open_clip
    import torch

    logging.disable(logging.WARNING)  # open_clip warns that the weights are random
    torch.manual_seed(0)
    model = open_clip.create_model(ARCHITECTURE)
    logging.disable(logging.NOTSET)
    for weight in model.visual.parameters():
        weight.requires_grad_(False).add_(WEIGHT_NOISE * torch.randn_like(weight))
    config = {
        "model_cfg": open_clip.get_model_config(ARCHITECTURE),
        "preprocess_cfg": asdict(open_clip.transform.PreprocessCfg()),
    }
    directory.mkdir()
    (directory / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save(model.state_dict(), directory / "open_clip_pytorch_model.bin")


def open_loops(directory: Path, *, cores: int) -> dict[str, Embed]:
    """Open the model as open_clip's README does; return both loops by name."""
    import open_clip
    import torch

    torch.set_num_threads(cores)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{directory}")
    model.eval()
    return {
        "one by one": partial(embed_in_batches, model=model, transform=transform, size=1),
        f"batches of {BATCH}": partial(
            embed_in_batches, model=model, transform=transform, size=BATCH
        ),
    }


def embed_in_batches(folder: Path, *, model: Any, transform: Any, size: int) -> FloatArray:
    """Decode, transform, stack and encode; return unit vectors (n, d)."""
    import torch

    rows = []
    paths = sorted(folder.iterdir())
    with torch.inference_mode():
        for start in range(0, len(paths), size):
            photos = [transform(Image.open(path)) for path in paths[start : start + size]]
            rows.append(model.encode_image(torch.stack(photos), normalize=True))
    embeddings: FloatArray = torch.cat(rows).numpy()
    return embeddings


def embed_with_isophote(folder: Path, *, directory: Path, cores: int) -> FloatArray:
    """Index photos into a new collection; return their unit vectors in the `clip` space."""
    # Imported here: worker processes import this module again, and must not pay for more than
    # those of the command.
    from indexer.store import vectors_of
    from schemas.collection import ModelSource
    from service.collection import open_collection
    from service.indexing import index_photos

    with tempfile.TemporaryDirectory() as place:
        settings = Settings(collection=f"{place}/collection", threads=cores, device="cpu")
        source = ModelSource(model=f"local-dir:{directory}")
        index_photos([folder], settings=settings, source=source, report=lambda _: None)
        collection = open_collection(settings)
        stored = collection.store.images(["path", "features"]).sort_by("path")
        return collection.space_map("clip").image_vectors(vectors_of(stored["features"]))


def timed(embed: Embed, folder: Path) -> tuple[float, FloatArray]:
    """Return wall seconds and the vectors."""
    start = time.perf_counter()
    embeddings = embed(folder)
    return time.perf_counter() - start, embeddings


def measure(ways: dict[str, Embed], folder: Path, *, few: Path, repeats: int) -> None:
    """Time all ways in turns, and print photos per second, ratios and the agreement."""
    ours, *loops = ways
    n_photos = len(list(folder.iterdir()))
    # The first one imports packages, and does not count.
    _, *few_times = (timed(ways[ours], few)[0] for _ in range(repeats + 1))
    fixed = statistics.median(few_times)
    rounds = [{name: timed(ways[name], folder) for name in ways} for _ in range(repeats)]
    for name in ways:
        seconds = statistics.median(each[name][0] for each in rounds)
        click.echo(f"  {name:13} {n_photos / seconds:6.1f} photos/s")
    click.echo(f"  {FEW_PHOTOS} photos cost isophote {fixed:.2f} s")
    for name in loops:
        ratios = [each[name][0] / each[ours][0] for each in rounds]
        net = [each[name][0] / (each[ours][0] - fixed) for each in rounds]
        click.echo(
            f"  isophote against {name}: {statistics.median(ratios):.2f} times as fast "
            f"({min(ratios):.2f}..{max(ratios):.2f}); less the fixed cost "
            f"{statistics.median(net):.2f}"
        )
    print_agreement(rounds[-1][ours][1], rounds[-1][loops[-1]][1])


def print_agreement(ours: FloatArray, theirs: FloatArray) -> None:
    """Print the least cosine of the same photo, and for scale the mean of different ones."""
    cosines = np.sum(ours * theirs, axis=1)
    others = np.mean(np.sum(ours * np.roll(theirs, 1, axis=0), axis=1))
    click.echo(f"  cosine of the vectors: minimum {cosines.min():.5f}; other photos {others:.3f}")


@click.command()
@click.option("--small", default=300, show_default=True, help="Photos of 1 megapixel.")
@click.option("--large", default=80, show_default=True, help="Photos of 12 megapixels.")
@click.option("--repeats", default=3, show_default=True, help="Rounds; the median is printed.")
@click.option(
    "--photos",
    type=click.Path(path_type=Path, exists=True),
    default="data/photos",
    show_default=True,
    help="Folder of photos that the benchmark's are made from.",
)
def main(small: int, large: int, repeats: int, photos: Path) -> None:
    """Compare Isophote with loops over open_clip on small and large photos."""
    cores = available_cores()
    click.echo(describe_machine(("torch", "open_clip_torch", "pillow", "numpy", "lancedb")))
    click.echo(
        f"{ARCHITECTURE}, random weights; {cores} torch threads and workers; {repeats} rounds; "
        f"photos enlarged, with noise (seeds 0..), JPEG quality {JPEG_QUALITY}"
    )
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place, "model")
        write_model(directory)
        isophote = partial(embed_with_isophote, directory=directory, cores=cores)
        ways: dict[str, Embed] = {"isophote": isophote, **open_loops(directory, cores=cores)}
        for megapixels, count in ((1, small), (12, large)):
            folder, few = Path(place, str(megapixels)), Path(place, f"{megapixels}-few")
            for made, n_made in ((folder, count), (few, FEW_PHOTOS)):
                write_enlarged_photos(
                    made, photo_files(photos), count=n_made, megapixels=megapixels
                )
            click.echo(f"{count} photos of {megapixels} MP:")
            measure(ways, folder, few=few, repeats=repeats)


if __name__ == "__main__":
    main()
