"""Ship what `mitoxai trust --simulate` measured: the tables that the package shows as hints, and the figure of the docs.

mitoxai trust --simulate --out FOLDER
python tools/planted_truth.py FOLDER
"""

import shutil
import sys
from pathlib import Path

from napari_mitoxai.common.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "src" / "napari_mitoxai" / "explain" / "data"


def ship(folder: Path) -> None:
    """Copy the tables, the provenance and the figure to where they are shipped from."""
    DATA.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "planted.csv", DATA / "planted_truth.csv")
    shutil.copyfile(folder / "ranking.csv", DATA / "planted_ranking.csv")
    shutil.copyfile(folder / "planted.png", ROOT / "docs" / "images" / "planted_truth.png")
    told = read_json(folder / "planted.json")
    del told["parameters"]["out"]  # a place on one machine
    write_json(DATA / "planted_truth.json", told)


if __name__ == "__main__":
    ship(Path(sys.argv[1]))
