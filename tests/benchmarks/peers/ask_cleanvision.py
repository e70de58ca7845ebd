"""Let cleanvision find duplicates; runs in its environment, where nothing of Isophote is.

python ask_cleanvision.py FOLDER ANSWER
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path


def main(folder: str, answer: str) -> None:
    """Write the version, and the files of each set with all others of that set, as JSON."""
    # Imported here: pytest imports every module for its doctests, and has no cleanvision.
    from cleanvision import Imagelab  # type: ignore[import-not-found]

    kinds = ("exact_duplicates", "near_duplicates")
    lab = Imagelab(data_path=folder)
    lab.find_issues({kind: {} for kind in kinds}, verbose=False)
    duplicates: dict[str, set[str]] = {}
    for members in (alike for kind in kinds for alike in lab.info[kind]["sets"]):
        names = {Path(member).name for member in members}
        for name in names:
            duplicates.setdefault(name, set()).update(names - {name})
    listed = {name: sorted(others) for name, others in duplicates.items()}
    content = {"version": version("cleanvision"), "duplicates": listed}
    Path(answer).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
