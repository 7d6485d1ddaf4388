"""Fit the weights by which pieces are judged to be fibres, and tell how well they do where they were not fitted.

    python benchmarks/fibre_weights.py ../shared/data/warren2020

Pieces of the hand-labelled section P03 that overlap a true fibre by more than half are fibres. The folds are blocks of 400 um, so that
neighbours are not in both.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.segmentation import expand_labels

from napari_mitoxai.fibres.pieces import find_pieces
from napari_mitoxai.fibres.plausibility import plausible, terms
from napari_mitoxai.imc import read_labels, read_section
from napari_mitoxai.tasks.segment import WindowReader, membrane_planes

DATA = Path(__file__).parents[2] / "shared" / "data" / "warren2020"
BLOCK = 400
FOLDS = 6


def fit(x: np.ndarray, y: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """Logistic regression by Newton's method: intercept, then a weight for each column."""
    mean, spread = x.mean(0), x.std(0)
    z = np.c_[np.ones(len(x)), (x - mean) / spread]
    weights, penalty = np.zeros(z.shape[1]), np.diag([0.0] + [ridge] * x.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-z @ weights))
        curvature = z.T @ (z * (chance * (1 - chance))[:, None]) + penalty
        weights += np.linalg.solve(curvature, z.T @ (y - chance) - penalty @ weights)
    scaled = weights[1:] / spread
    return np.r_[weights[0] - scaled @ mean, scaled]


def best_overlap(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The best intersection over union of each label with a true fibre."""
    pair = labels.astype(np.int64) * (int(truth.max()) + 1) + truth
    pairs, shared = np.unique(pair[(labels > 0) & (truth > 0)], return_counts=True)
    found, true = np.divmod(pairs, int(truth.max()) + 1)
    overlap = shared / (np.bincount(labels.ravel())[found] + np.bincount(truth.ravel())[true] - shared)
    best = np.zeros(labels.max() + 1)
    np.maximum.at(best, found, overlap)
    return best[1:]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path, nargs="?", default=DATA)
    data = arguments.parse_args().data
    if not data.is_dir():
        print(f"needs the published data, which is not at {data}")
        return
    section = read_section(data / "stacks" / "P03.ome.tiff")
    truth = read_labels(data / "P03_instance_mask.tiff")
    window = WindowReader(section, membrane_planes(section, []))(
        (slice(0, truth.shape[0]), slice(0, truth.shape[1]))
    )
    pieces = find_pieces(window.membrane, window.density, section.pixel_size_um, 50.0, lambda name: None)
    is_fibre = best_overlap(expand_labels(pieces.labels, 2), truth) > 0.5
    number, expected = len(is_fibre), len(np.unique(truth)) - 1

    def tell(what: str, accepted: np.ndarray) -> None:
        right = np.count_nonzero(accepted & is_fibre)
        f1 = 2 * right / (np.count_nonzero(accepted) + expected)
        print(f"{what}: F1 {f1:.4f}, {right} right, {np.count_nonzero(accepted & ~is_fibre)} wrong")

    print(f"{number} pieces, {is_fibre.sum()} of them fibres, {expected} true fibres")
    centres = np.array(ndimage.center_of_mass(pieces.labels > 0, pieces.labels, np.arange(1, number + 1)))
    _, block = np.unique((centres // BLOCK).astype(int), axis=0, return_inverse=True)
    fold = np.random.default_rng(0).permutation(block.max() + 1)[block] % FOLDS
    all_terms = terms(pieces.features)
    for name, x in (("all channels", all_terms), ("membrane alone", all_terms[:, :4])):
        out = np.zeros(number, bool)
        for index in range(FOLDS):
            weights = fit(x[fold != index], is_fibre[fold != index].astype(float))
            out[fold == index] = weights[0] + x[fold == index] @ weights[1:] > 0
        weights = fit(x, is_fibre.astype(float))
        print(f"{name}: {np.round(weights, 2).tolist()}")
        tell("  blocks left out", out)
        tell("  fitted on all", weights[0] + x @ weights[1:] > 0)
    tell("the weights in use", plausible(pieces.features))


if __name__ == "__main__":
    main()
