"""Make the tiny store of the present schema version that later versions must still open.

    python -m tests.makers.formats

Run once when a schema version is released, and never again for that version: what it wrote is
committed under tests/formats/.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from schemas.collection import SCHEMA_VERSION
from tests.makers.libraries import indexed_colours

FORMATS = Path(__file__).parent.parent / "formats"


@click.command()
def main() -> None:
    """Write tests/formats/vN, six coloured pictures and one failure, unless it exists."""
    target = FORMATS / f"v{SCHEMA_VERSION}"
    if target.exists():
        raise click.ClickException(f"{target} exists; a released format is never made again")
    with TemporaryDirectory() as place:
        folder = Path(place, "photos")
        folder.mkdir()
        (folder / "broken.jpg").write_text("no photo")
        collection = indexed_colours(folder, Path(place, "collection"))
        collection.store.optimize()
        shutil.copytree(place + "/collection", target)


if __name__ == "__main__":
    main()
