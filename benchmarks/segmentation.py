"""How well fibres are found: against the hand-made labels of P03, and against the published tables of six sections.

    python benchmarks/segmentation.py ../shared/data/warren2020 --pictures /tmp/errors

Prints the tables of docs/segmentation.md and draws its figure; `--pictures` gets a crop of every error of P03, a sheet for each cause.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import ndimage
from skimage.segmentation import find_boundaries

from napari_mitoxai.fibres import causes, match
from napari_mitoxai.fibres.evaluation import Causes
from napari_mitoxai.imc import read_labels, read_section
from napari_mitoxai.tasks.segment import SegmentParameters, run

DATA = Path(__file__).parents[2] / "shared" / "data" / "warren2020"
SECTIONS = ("P03", "P08", "P09", "P01", "C01", "C03")
FIGURE = Path(__file__).parents[1] / "docs" / "images" / "segmentation_errors.png"
COLOURS = {
    "missed": "#0072b2", "extra": "#d55e00", "merged": "#009e73", "split": "#cc79a7", "too large": "#e69f00", "too small": "#56b4e9",
}  # fmt: skip
CROP = 160


def own_fibre(labels: np.ndarray, table: pd.DataFrame) -> float:
    """The share of published centres that fall in a fibre which holds no other."""
    at = labels[table["yCoord"].astype(int), table["xCoord"].astype(int)]
    _, count = np.unique(at[at > 0], return_counts=True)
    return np.count_nonzero(count == 1) / len(table)


def draw(errors: Causes, labels: np.ndarray, truth: np.ndarray) -> None:
    """Errors by cause, and where they are: centres only, nothing of the picture."""
    figure = Figure((9, 3.6), layout="constrained")
    bars, place = figure.subplots(1, 2, width_ratios=(1, 1.35))
    sides = (("not found", errors.missed, truth, "o"), ("found in vain", errors.wrong, labels, "x"))
    names = list(COLOURS)
    for row, (title, found, image, marker) in enumerate(sides):
        count, left = Counter(found.values()), 0
        for name in names:
            if count[name]:
                bars.barh(
                    row,
                    count[name],
                    left=left,
                    color=COLOURS[name],
                    label=name if row or name != "extra" else None,
                )
                if count[name] > 2:  # else there is no room
                    bars.text(
                        left + count[name] / 2, row, str(count[name]), ha="center", va="center", fontsize=7
                    )
                left += count[name]
        centres = ndimage.center_of_mass(image > 0, image, list(found))
        y, x = np.array(centres).T
        place.scatter(x, y, s=14, marker=marker, c=[COLOURS[name] for name in found.values()], label=title)
    bars.set_yticks((0, 1), [title for title, *_ in sides])
    bars.invert_yaxis()
    bars.set_xlabel("fibres of P03")
    handles = [bars.barh(0, 0, color=COLOURS[name]) for name in names]
    bars.legend(
        handles, names, fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.22), frameon=False
    )
    bars.spines[["top", "right"]].set_visible(False)
    place.set(
        xlim=(0, truth.shape[1]), ylim=(truth.shape[0], 0), aspect="equal", xlabel="x (µm)", ylabel="y (µm)"
    )
    place.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22), frameon=False)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=150)


def sheets(errors: Causes, labels: np.ndarray, truth: np.ndarray, membrane: np.ndarray, out: Path) -> None:
    """A sheet of crops for each cause: found outlines red, true ones green."""
    out.mkdir(parents=True, exist_ok=True)
    grey = np.clip(membrane / max(np.percentile(membrane, 99), 1) * 170, 0, 170).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    picture[find_boundaries(labels, mode="inner")] = (230, 60, 60)
    picture[find_boundaries(truth, mode="inner")] = (60, 200, 60)
    for side, found, image in (("not_found", errors.missed, truth), ("in_vain", errors.wrong, labels)):
        for cause in sorted(set(found.values())):
            ids = [fibre for fibre, why in found.items() if why == cause]
            rows = -(-len(ids) // 8)
            figure = Figure((12, 1.6 * rows))
            for axes, fibre, centre in zip(
                figure.subplots(rows, 8, squeeze=False).flat,
                ids,
                ndimage.center_of_mass(image > 0, image, ids),
                strict=False,
            ):
                y, x = (
                    int(np.clip(at - CROP / 2, 0, size - CROP))
                    for at, size in zip(centre, image.shape, strict=True)
                )
                axes.imshow(picture[y : y + CROP, x : x + CROP])
                axes.set_title(str(fibre), fontsize=6)
            for axes in figure.axes:
                axes.set_axis_off()
            figure.savefig(out / f"{side}_{cause.replace(' ', '_')}.png", dpi=100, bbox_inches="tight")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path, nargs="?", default=DATA)
    arguments.add_argument("--pictures", type=Path)
    arguments.add_argument("--sections", nargs="*", default=SECTIONS)
    given = arguments.parse_args()
    if not given.data.is_dir():
        print(f"needs the published data, which is not at {given.data}")
        return
    published = pd.read_csv(given.data / "fibres.csv")
    print(
        "| section | published | found | centre in a fibre of its own | s of one core |\n| --- | --- | --- | --- | --- |"
    )
    for name in given.sections:
        path = given.data / "stacks" / f"{name}.ome.tiff"
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            result = run(SegmentParameters(section=path, out=Path(folder) / "fibres.tiff"))
            spent = time.process_time() - start
            labels = read_labels(result.labels)
        table = published.query("patient_id == @name")
        print(
            f"| {name} | {len(table)} | {result.fibres} | {own_fibre(labels, table):.1%} | {spent:.0f} |",
            flush=True,
        )
        if name == "P03":
            truth = read_labels(given.data / "P03_instance_mask.tiff")
            found, strict, errors = match(labels, truth), match(labels, truth, 0.75), causes(labels, truth)
            draw(errors, labels, truth)
            if given.pictures:
                section = read_section(path)
                sheets(
                    errors,
                    labels,
                    truth,
                    section.read([section.panel.index("Dystrophin")])[0],
                    given.pictures,
                )
    print(found, f"F1 at IoU 0.75: {strict.f1:.3f}", sep="\n")
    print("not found:", dict(Counter(errors.missed.values())))
    specks = np.count_nonzero(np.bincount(truth.ravel())[list(errors.missed)] < 10)
    print(f"  of these {specks} are specks of less than 10 pixels in the hand-made labels")
    print("found in vain:", dict(Counter(errors.wrong.values())))


if __name__ == "__main__":
    main()
