"""Which altered copies of photos are found, and what else is taken for a copy?

Copies of real photos by every transform of `tests.makers.planted` are laid in one folder with
photos that have none. Isophote by its commands, with the built-in model and the default of the tier
near, and the peers at their defaults, each package in an environment of its own, all get that
folder. Each names for some files the others that are duplicates of them: Isophote for keepers,
imagededup for every file, cleanvision for all files of a set of exact or near duplicates. A file
with all its duplicates is a group here, a file with one of them a pair. The peers also pair the
copies of a photo with each other, so they name more pairs.

- recall: the share of altered copies that are in some group with the photo they were made from.
- precision: the share of pairs whose two files come from one photo; for a transform, of the pairs
  with a copy made by it. All other pairs are false, also where two photos show the same: `--keep`
  lists them to be looked at.
- seconds: wall time of the tool's processes, for Isophote those of indexing and of the search.

    python -m tests.benchmarks.planted_duplicates --photos DIR
"""

import csv
import json
import math
import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from schemas.duplicates import DuplicateList
from tests.benchmarks.machine import describe_machine
from tests.makers.enlarged import photo_files
from tests.makers.planted import TRANSFORMS, Planted, plant, write_manifest

TARGET_RECALL = 0.95
TARGET_PRECISION = 0.99
ISOPHOTE = (sys.executable, "-c", "from service.cli import main; main()")
PEER_SCRIPTS = Path(__file__).with_name("peers")

Duplicates = Mapping[str, Collection[str]]
"""The names of files, with those of their duplicates."""

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Peer:
    """A program to compare with; `script` runs in an environment with the requirements."""

    package: str
    requirements: tuple[str, ...]
    script: str
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join((self.package, *self.arguments))


# imagededup imports torch and torchvision also where it only hashes. They must come from one pip
# command, or they may not fit each other.
_IMAGEDEDUP = ("imagededup>=0.3.3,<0.4", "torch>=2.6,<3", "torchvision>=0.21,<1")
PEERS = (
    Peer("imagededup", _IMAGEDEDUP, "ask_imagededup.py", ("phash",)),
    Peer("imagededup", _IMAGEDEDUP, "ask_imagededup.py", ("dhash",)),
    Peer("cleanvision", ("cleanvision>=0.3.7,<0.4",), "ask_cleanvision.py"),
)


class NoAnswerError(click.ClickException):
    """A program ended with an error, of which this has the last line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program said, its version, and the wall seconds it took."""

    duplicates: Duplicates
    version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an answer is worth, in names of files.

    `found` are the altered copies in a group with their original; `confused` the pairs of originals
    that false pairs come from.
    """

    found: frozenset[str]
    true_pairs: frozenset[Pair]
    false_pairs: frozenset[Pair]
    confused: frozenset[Pair]

    def recall(self, copies: Collection[str]) -> float:
        """Return the share of altered copies that were found."""
        return len(self.found.intersection(copies)) / len(copies)

    def precision(self, names: Collection[str]) -> float:
        """Return the share of true pairs among those with any of the files; NaN without pairs."""
        wanted = frozenset(names)
        n_true, n_false = (
            sum(left in wanted or right in wanted for left, right in pairs)
            for pairs in (self.true_pairs, self.false_pairs)
        )
        return n_true / (n_true + n_false) if n_true + n_false else math.nan


def judge(duplicates: Duplicates, originals: Mapping[str, str]) -> Outcome:
    """Compare an answer with the original of each file; an original is its own."""
    groups = [{key, *others} for key, others in duplicates.items()]
    found = {
        name
        for group in groups
        for name in group
        if originals[name] in group and originals[name] != name
    }
    pairs = {ordered(key, other) for key, others in duplicates.items() for other in others}
    false_pairs = {pair for pair in pairs if originals[pair[0]] != originals[pair[1]]}
    return Outcome(
        frozenset(found),
        frozenset(pairs - false_pairs),
        frozenset(false_pairs),
        frozenset(ordered(originals[left], originals[right]) for left, right in false_pairs),
    )


def ordered(left: str, right: str) -> Pair:
    return (left, right) if left < right else (right, left)


def output_of(*command: str | Path) -> str:
    """Run a program; return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or "without a word"
        raise NoAnswerError(
            f"exit status {done.returncode} of {shlex.join(map(str, command))}: "
            f"{said.splitlines()[-1]}"
        )
    return done.stdout


def ask_isophote(folder: Path, place: Path) -> Answer:
    """Index a folder into a new collection, and list its near-duplicates."""
    start = time.perf_counter()
    output_of(*ISOPHOTE, "index", folder, "-c", place)
    printed = output_of(*ISOPHOTE, "duplicates", "--tier", "near", "--json", "-c", place)
    seconds = time.perf_counter() - start
    listed = DuplicateList.model_validate_json(printed)
    click.echo(f"Isophote took {listed.seconds:.1f} s for the search; {listed.threshold}")
    return Answer(keepers_with_copies(listed), version("isophote"), seconds)


def keepers_with_copies(listed: DuplicateList) -> Duplicates:
    """Return the file names of each keeper and its copies."""
    return {
        Path(group.keeper.path).name: [Path(copy.photo.path).name for copy in group.copies]
        for group in listed.groups
    }


def install(peer: Peer, environment: Path) -> Path:
    """Put what a peer requires into an environment, unless it is there; return its Python."""
    python = environment / "bin" / "python"
    output_of(sys.executable, "-m", "venv", environment)
    output_of(python, "-m", "pip", "install", "--disable-pip-version-check", *peer.requirements)
    return python


def ask_script(python: Path, script: Path, *arguments: str | Path) -> Answer:
    """Run a script that writes version and duplicates as JSON into the file named last."""
    with TemporaryDirectory() as scratch:
        target = Path(scratch, "answer.json")
        start = time.perf_counter()
        # With -I, variables such as PYTHONPATH bring nothing of ours into the peer's environment.
        output_of(python, "-I", script, *arguments, target)
        seconds = time.perf_counter() - start
        content = json.loads(target.read_text("utf-8"))
        return Answer(content["duplicates"], content["version"], seconds)


def ask_all(folder: Path, *, scratch: Path, environments: Path) -> dict[str, Answer]:
    """Ask Isophote and all peers by name; say why a peer has no answer."""
    answers = {"Isophote": ask_isophote(folder, scratch / "collection")}
    for peer in PEERS:
        try:
            python = install(peer, environments / peer.package)
            script = PEER_SCRIPTS / peer.script
            answers[peer.name] = ask_script(python, script, *peer.arguments, folder)
        except NoAnswerError as error:
            click.echo(f"{peer.name} gave no answer: {error.message}")
    return answers


def table_lines(
    planted: Sequence[Planted], answers: Mapping[str, Answer], outcomes: Mapping[str, Outcome]
) -> list[str]:
    """Return a Markdown table: recall and precision by transform and of all, counts, seconds."""
    copies = {
        transform: [each.path.name for each in planted if each.transform == transform]
        for transform in TRANSFORMS
    }
    rows = [(transform, names, names) for transform, names in copies.items()]
    everything = [each.path.name for each in planted]
    rows.append(("all", [name for names in copies.values() for name in names], everything))
    return [
        _line("recall / precision", outcomes),
        _line("---", ["---"] * len(outcomes)),
        *(_line(label, _shares(outcomes, altered, names)) for label, altered, names in rows),
        *_count_lines(outcomes),
        _line("seconds", [f"{answer.seconds:.0f}" for answer in answers.values()]),
    ]


def _shares(
    outcomes: Mapping[str, Outcome], copies: Collection[str], names: Collection[str]
) -> list[str]:
    return [
        f"{_share(outcome.recall(copies))} / {_share(outcome.precision(names))}"
        for outcome in outcomes.values()
    ]


def _count_lines(outcomes: Mapping[str, Outcome]) -> list[str]:
    counts = {
        "pairs": [len(each.true_pairs) + len(each.false_pairs) for each in outcomes.values()],
        "false pairs": [len(each.false_pairs) for each in outcomes.values()],
        "pairs of photos these confuse": [len(each.confused) for each in outcomes.values()],
    }
    return [_line(label, [f"{count:,}" for count in row]) for label, row in counts.items()]


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _line(label: str, cells: Iterable[str]) -> str:
    return f"| {' | '.join((label, *cells))} |"


def verdict(outcome: Outcome, planted: Sequence[Planted]) -> str:
    """Say whether recall and precision over all files reach the targets."""
    recall = outcome.recall([each.path.name for each in planted if each.transform])
    precision = outcome.precision([each.path.name for each in planted])
    return "; ".join(
        f"{name} {value:.4f}, at least {target} {'met' if value >= target else 'missed'}"
        for name, value, target in (
            ("recall", recall, TARGET_RECALL),
            ("precision", precision, TARGET_PRECISION),
        )
    )


def write_false_pairs(outcomes: Mapping[str, Outcome], path: Path) -> None:
    """Write `program`, `left`, `right` as CSV, with names of files."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("program", "left", "right"))
        for program, outcome in outcomes.items():
            writer.writerows((program, *pair) for pair in sorted(outcome.false_pairs))


def drawn_photos(folder: Path, *, count: int, seed: int) -> list[Path]:
    """Draw different photos from a folder."""
    found = photo_files(folder)
    if len(found) < count:
        raise click.ClickException(
            f"{folder} has {len(found)} photos and {count} are needed; lower --count or "
            "--distractors, or give a larger folder as --photos"
        )
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[number] for number in order[:count]]


@click.command()
@click.option(
    "--photos",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder of real photos, none twice.",
)
@click.option("--count", default=600, show_default=True, help="Photos with altered copies.")
@click.option("--distractors", default=2000, show_default=True, help="Photos without copies.")
@click.option("--seed", default=0, show_default=True, help="Of the draw and of the alterations.")
@click.option(
    "--keep",
    type=click.Path(exists=False, path_type=Path),
    help="New folder that keeps the photos, manifest.csv and false-pairs.csv.",
)
@click.option(
    "--peers",
    type=click.Path(path_type=Path),
    help="Folder that keeps the peers' environments for the next run.",
)
def main(
    photos: Path, count: int, distractors: int, seed: int, keep: Path | None, peers: Path | None
) -> None:
    """Plant copies, ask Isophote and the peers for them, and print a table."""
    if keep is not None and keep.exists():
        raise click.BadParameter(f"{keep} exists; name a new folder", param_hint="--keep")
    click.echo(describe_machine(("isophote", "numpy", "pillow", "onnxruntime")))
    with TemporaryDirectory() as scratch:
        target = keep or Path(scratch, "planted")
        drawn = drawn_photos(photos, count=count + distractors, seed=seed)
        planted = plant(drawn[:count], target / "photos", seed=seed, distractors=drawn[count:])
        write_manifest(planted, target / "manifest.csv")
        click.echo(
            f"{count} photos of {photos} with {len(TRANSFORMS)} copies each and {distractors} "
            f"without: {len(planted)} files; seed {seed}"
        )
        environments = peers or Path(scratch, "peers")
        answers = ask_all(target / "photos", scratch=Path(scratch), environments=environments)
        originals = {each.path.name: each.original.name for each in planted}
        outcomes = {name: judge(it.duplicates, originals) for name, it in answers.items()}
        write_false_pairs(outcomes, target / "false-pairs.csv")
    click.echo("; ".join(f"{name}: {answer.version}" for name, answer in answers.items()))
    for line in table_lines(planted, answers, outcomes):
        click.echo(line)
    click.echo(f"Isophote: {verdict(outcomes['Isophote'], planted)}")


if __name__ == "__main__":
    main()
