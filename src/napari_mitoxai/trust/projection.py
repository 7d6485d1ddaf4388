"""Many points in many dimensions as a picture: principal components, t-SNE and UMAP of them."""

import warnings
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError

METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
COMPONENTS = 50
_BLOCK = 16_384  # columns at once: 64 MB of a thousand points


def products(vectors: NDArray[np.float32], cancel: CancelToken | None = None) -> NDArray[np.float64]:
    """The products of all pairs of points, after their mean was taken off (the Gram matrix).

    All distances and all principal components follow from it, and it is small where points are long.

    Parameters
    ----------
    vectors : ndarray of float32
        (N, D); may lie on the disk, as it is read a block of columns at a time.
    cancel
        Checked at each block.

    Returns
    -------
    ndarray of float64
        (N, N).
    """
    number, dimensions = vectors.shape
    total = np.zeros((number, number))
    for start in range(0, dimensions, _BLOCK):
        if cancel is not None:
            cancel.check()
        block = np.asarray(vectors[:, start : start + _BLOCK], np.float64)
        block = block - block.mean(0)
        total += block @ block.T
    return total


def distances(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distances (N, N) of all pairs of points, from their products."""
    own = np.diag(gram)
    squared = np.maximum(own[:, None] + own[None] - 2 * gram, 0)
    np.fill_diagonal(squared, 0)
    return np.sqrt(squared)


def principal_components(gram: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The first principal components of points, from their products.

    Parameters
    ----------
    gram : ndarray of float64
        (N, N), from `products`.

    Returns
    -------
    scores : ndarray of float64
        (N, 50), or fewer columns of fewer points; the same as those of a principal component analysis of the points.
    share : float
        Of the variance that they hold, 0 to 1.
    """
    from sklearn.decomposition import KernelPCA

    wanted = min(COMPONENTS, len(gram) - 1)
    scores = KernelPCA(wanted, kernel="precomputed", eigen_solver="dense").fit_transform(gram)
    total = float(np.trace(gram))
    return np.asarray(scores, float), float((scores**2).sum() / total) if total > 0 else 0.0


def umap_is_there() -> bool:
    """Whether umap-learn is installed."""
    return find_spec("umap") is not None


def project(
    points: NDArray[np.float64], method: str, *, seed: int = 0, perplexity: float = 30, neighbours: int = 15
) -> NDArray[np.float64]:
    """Lay points out in a plane so that those that are near each other stay near.

    ``tsne`` is t-SNE (van der Maaten and Hinton 2008) with the Barnes-Hut approximation, begun from the first two principal
    components; ``umap`` is UMAP (McInnes et al. 2018), smallest distance 0.1. In both, distances between groups of points and
    the sizes of groups mean little.

    Parameters
    ----------
    points : ndarray
        (N, D).
    method : str
        ``tsne`` or ``umap``.
    seed : int
        The same gives the same picture.
    perplexity : float
        Of t-SNE: about how many neighbours a point is kept with; of few points a third of them.
    neighbours : int
        Of UMAP: how many each point is kept with.

    Returns
    -------
    ndarray
        (N, 2).

    Raises
    ------
    MitoxaiError
        If umap-learn is not installed.
    """
    if method == "tsne":
        from sklearn.manifold import TSNE

        smaller = min(perplexity, (len(points) - 1) / 3)
        # one job: sums do not depend on the machine
        placed = TSNE(perplexity=smaller, init="pca", random_state=seed, n_jobs=1).fit_transform(points)
        return np.asarray(placed, float)
    if not umap_is_there():
        raise MitoxaiError(
            "UMAP needs umap-learn, which is not installed: pip install 'napari-mitoxai[embedding]', or use t-SNE."
        )
    import umap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few points it starts otherwise, which it tells
        reducer = umap.UMAP(
            n_neighbors=min(neighbours, len(points) - 1), min_dist=0.1, random_state=seed, n_jobs=1
        )
        return np.asarray(reducer.fit_transform(points), float)
