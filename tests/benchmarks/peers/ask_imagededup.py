"""Let imagededup find duplicates; runs in its environment, where nothing of Isophote is.

python ask_imagededup.py METHOD FOLDER ANSWER
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path


def main(method: str, folder: str, answer: str) -> None:
    """Write the version, and all files with their duplicates at the default distance, as JSON."""
    # Imported here: pytest imports every module for its doctests, and has no imagededup.
    from imagededup.methods import DHash, PHash  # type: ignore[import-not-found]

    hashing = {"phash": PHash, "dhash": DHash}[method](verbose=False)
    duplicates = hashing.find_duplicates(image_dir=folder)
    content = {"version": version("imagededup"), "duplicates": duplicates}
    Path(answer).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
