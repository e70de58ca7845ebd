"""What the built-in model reaches on labelled photos: retrieval and anomalies, in all spaces.

Two sets: the sample photos in `data/`, by label; and photos of Flickr8k, which come with captions
only. There a photo gets the label of the one thing below that at least three of its five captions
name, if none of them names any other; the rest are left out. The words were fixed before any score
was seen.

    python -m tests.benchmarks.labelled_photos --flickr DIR --captions FILE --split FILE...
"""

import csv
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from click.testing import CliRunner

from service.cli import cli
from tests.benchmarks.machine import describe_machine

SAMPLES = Path("data")

WORDS = {
    "dog": "dog dogs puppy puppies",
    "bicycle": "bike bikes bicycle bicycles biker cyclist cyclists",
    "snow": "snow snowy ski skis skier skiing snowboard snowboarder snowboarding",
    "climbing": "climber climbing climbs climb",
    "skateboard": "skateboard skateboards skateboarder skateboarding",
    "beach": "beach",
    "swing": "swing swings swinging",
    "swimming pool": "pool",
    "basketball": "basketball",
    "boat": "boat boats canoe kayak kayaker",
    "surfing": "surf surfer surfing surfboard surfs",
    "soccer": "soccer",
    "football": "football",
    "car": "car cars",
}
MIN_CAPTIONS = 3


def captions_by_file(path: Path) -> dict[str, list[str]]:
    """Read `file`, `n`, `caption` from a TSV file."""
    captions = defaultdict(list)
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            captions[row["file"]].append(row["caption"])
    return captions


def label_of(captions: Sequence[str]) -> str | None:
    """Return the only thing that captions name, if enough of them do."""
    words = [set(re.findall("[a-z]+", caption.lower())) for caption in captions]
    counts = {
        label: sum(bool(said & set(names.split())) for said in words)
        for label, names in WORDS.items()
    }
    named = [label for label, count in counts.items() if count]
    return named[0] if len(named) == 1 and counts[named[0]] >= MIN_CAPTIONS else None


def write_labels(labels: Iterable[tuple[str, str]], target: Path) -> None:
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows(labels)


def run(*arguments: str) -> None:
    """Print a command and what it prints."""
    click.echo(f"\n$ isophote {' '.join(arguments)}")
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    click.echo(result.output)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception


def evaluate(place: str, labels: Path, *, shots: int) -> None:
    """Evaluate a collection by a file of labels."""
    run("eval", "retrieval", "-c", place, "--labels", str(labels))
    for protocol in ("one-class", "leave-one-out"):
        run(
            *("eval", "anomaly", "-c", place, "--labels", str(labels)),
            *("--protocol", protocol, "--shots", str(shots), "--without-examples"),
            *("--space", "isoclip", "--space", "semantic"),
        )


@click.command()
@click.option("--flickr", type=click.Path(exists=True, path_type=Path), help="Flickr8k's photos.")
@click.option("--captions", type=click.Path(exists=True, path_type=Path), help="captions.tsv")
@click.option(
    "--split", "splits", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="File that lists photos, one a line; may be repeated.",
)  # fmt: skip
def main(flickr: Path | None, captions: Path | None, splits: Sequence[Path]) -> None:
    """Index both sets into scratch collections and print what `isophote eval` says of them."""
    click.echo(describe_machine())
    with TemporaryDirectory() as scratch:
        place = str(Path(scratch, "samples"))
        run("index", str(SAMPLES / "photos"), "-c", place)
        run("eval", "retrieval", "-c", place, "--labels", str(SAMPLES / "labels.csv"))
        if flickr is None or captions is None:
            click.echo("give --flickr, --captions and --split for the larger set")
            return
        photos = Path(scratch, "photos")
        photos.mkdir()
        told = captions_by_file(captions)
        names = [name for split in splits for name in split.read_text("utf-8").split()]
        labelled = [(name, label) for name in names if (label := label_of(told[name]))]
        for name, _ in labelled:
            shutil.copy(flickr / name, photos / name)
        counts = Counter(label for _, label in labelled)
        click.echo(f"\nFlickr8k: {len(labelled)} of {len(names)} photos, {dict(counts)}")
        labels = Path(scratch, "labels.csv")
        write_labels(labelled, labels)
        place = str(Path(scratch, "flickr"))
        run("index", str(photos), "-c", place)
        evaluate(place, labels, shots=10)
        # The most favourable axes there are: the very names that are asked for.
        own_names = Path(scratch, "names.txt")
        own_names.write_text("\n".join(WORDS), encoding="utf-8")
        own_axes = ("--space", "semantic", "--axes", str(own_names))
        run("eval", "retrieval", "-c", place, "--labels", str(labels), *own_axes)


if __name__ == "__main__":
    main()
