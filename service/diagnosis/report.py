"""The report of a diagnosis: one HTML file that needs nothing besides itself."""

import re
from base64 import b64encode
from collections.abc import Mapping
from html import escape

from schemas.diagnosis import Diagnosis
from service.diagnosis.sections import Section

# Neither scripts nor requests, whatever a label or a path may hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #ffffff; }
h1 { margin-bottom: 0.2rem; }
h2 { margin: 2.5rem 0 0.5rem; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: 0.15rem 1rem 0.15rem 0;
  overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
figure { margin: 0.8rem 0; }
img { width: 100%; height: auto; border: 1px solid #cccccc; border-radius: 4px;
  background: #ffffff; }
.reading { border-left: 4px solid #0072b2; padding-left: 0.8rem; }
a { color: #005a8e; }
@media (prefers-color-scheme: dark) {
  body { color: #e8e8e8; background: #16181b; }
  img { border-color: #555555; }
  .reading { border-color: #56b4e9; }
  a { color: #7cc4f0; }
}
@media print {
  body { max-width: none; margin: 0; color: #000000; background: #ffffff; }
  section { break-inside: avoid; }
  nav { display: none; }
}
"""


def report_html(diagnosis: Diagnosis, sections: Mapping[str, Section]) -> str:
    """Return the report as a page with all pictures in it.

    Parameters
    ----------
    diagnosis : Diagnosis
    sections : mapping of str to Section
        Those of the plots of the diagnosis, by name.
    """
    title = "Isophote diagnosis"
    plots = "".join(_plot(plot.name, plot.title, sections[plot.name]) for plot in diagnosis.plots)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n{_facts(diagnosis)}\n{_contents(diagnosis)}\n{plots}"
        f"{_left_out(diagnosis)}</main>\n</body>\n</html>\n"
    )


def _facts(diagnosis: Diagnosis) -> str:
    facts = {
        "Collection": diagnosis.collection,
        "Model": diagnosis.model,
        "Photos": f"{diagnosis.n_images:,}",
        "Sample": f"{diagnosis.n_sampled:,} photos, {diagnosis.n_labelled:,} photos with labels, "
        f"{diagnosis.n_texts:,} texts, at most {diagnosis.n_pairs:,} pairs of each kind",
        "Options": "; ".join(f"{name} {value}" for name, value in diagnosis.given.items())
        or "none",
        "Seed": str(diagnosis.seed),
        "Made": f"{diagnosis.made_at:%Y-%m-%d %H:%M} UTC by isophote {diagnosis.isophote_version}",
    }
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{_shown(value)}</td></tr>\n'
        for name, value in facts.items()
    )
    return f"<table>\n{rows}</table>"


def _contents(diagnosis: Diagnosis) -> str:
    entries = "".join(
        f'<li><a href="#{plot.name}">{_shown(plot.title)}</a></li>\n' for plot in diagnosis.plots
    )
    return f'<nav aria-label="Plots">\n<ul>\n{entries}</ul>\n</nav>'


def _plot(name: str, title: str, section: Section) -> str:
    source = f"data:image/png;base64,{b64encode(section.png).decode('ascii')}"
    return (
        f'<section id="{name}">\n<h2>{_shown(title)}</h2>\n<p>{_prose(section.finding)}</p>\n'
        f'<figure><img src="{source}" alt="{_shown(section.alt)}"></figure>\n'
        f'<p class="reading"><strong>How to read it.</strong> {_prose(section.reading)}</p>\n'
        "</section>\n"
    )


def _left_out(diagnosis: Diagnosis) -> str:
    if not diagnosis.left_out:
        return ""
    entries = "".join(
        f"<li>{_shown(plot.title)}: {_prose(plot.reason)}.</li>\n" for plot in diagnosis.left_out
    )
    return f'<section id="left-out">\n<h2>Left out</h2>\n<ul>\n{entries}</ul>\n</section>\n'


def _shown(text: str) -> str:
    """Return text as HTML; what of a path is no UTF-8 becomes a question mark."""
    return escape(text.encode("utf-8", "replace").decode("utf-8"))


def _prose(text: str) -> str:
    """Return sentences as HTML, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _shown(text))
