"""What `isophote diagnose` answers."""

from datetime import datetime

from schemas.results import Record


class DrawnPlot(Record):
    """One plot of a diagnosis.

    `file` is the path of its PNG. `finding` says in words what `numbers` hold.
    """

    name: str
    title: str
    file: str
    finding: str
    numbers: dict[str, float]


class PlotLeftOut(Record):
    """A plot that could not be made, and why."""

    name: str
    title: str
    reason: str


class Diagnosis(Record):
    """What was drawn, from what.

    `report` is the path of the HTML file. `n_images` photos match, of which `n_sampled` were
    drawn by `seed`; `n_labelled` of those with a label were drawn by themselves. `n_texts` counts
    the texts that images were compared with. `given` are the options that were given, as in
    {"labels": "labels.csv"}.
    """

    report: str
    collection: str
    model: str
    isophote_version: str
    made_at: datetime
    given: dict[str, str]
    n_images: int
    n_sampled: int
    n_labelled: int
    n_texts: int
    n_pairs: int
    seed: int
    plots: list[DrawnPlot]
    left_out: list[PlotLeftOut]
