"""Fibres by Cellpose (Stringer et al. 2021, Nat Methods 18:100), which is installed separately."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress


def segment_cellpose(
    membrane: NDArray[np.generic],
    *,
    weights: Path | None,
    download: bool = False,
    pixel_size_um: float = 1.0,
    fibre_size_um: float = 50.0,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> NDArray[np.int32]:
    """Find fibres with a Cellpose model.

    Parameters
    ----------
    membrane : ndarray
        (Y, X), counts of the membrane.
    weights : Path, optional
        A model file of Cellpose.
    download : bool
        Whether Cellpose may fetch its own model where `weights` is not given; nothing is fetched otherwise.
    pixel_size_um, fibre_size_um : float
        Side of a pixel, usual diameter of a fibre.
    progress, cancel : callable, CancelToken
        Told before the model runs; Cellpose itself cannot be stopped.

    Returns
    -------
    ndarray of int32
        (Y, X), fibres 1..n, 0 outside.

    Raises
    ------
    MitoxaiError
        If Cellpose is not installed, there are no weights, or it fails.
    Cancelled
        If `cancel` was used before the model ran.
    """
    if weights is None and not download:
        raise MitoxaiError(
            "Cellpose needs its weights: give a model file with --weights, or let Cellpose fetch its own with --download."
        )
    if weights is not None and not weights.is_file():
        raise MitoxaiError(f"{weights} is not there: give the model file of Cellpose.")
    models = _cellpose_models()
    if cancel is not None:
        cancel.check()
    progress(Progress("Finding fibres", 0, 1, "Cellpose"))
    counts = np.arcsinh(np.nan_to_num(np.asarray(membrane, np.float32), nan=0.0, posinf=0.0, neginf=0.0))
    chosen = {} if weights is None else {"pretrained_model": str(weights)}
    gpu = _has_gpu()
    try:
        model = models.CellposeModel(gpu=gpu, use_bfloat16=gpu, **chosen)  # processors are slow at bfloat16
        # the membrane is bright and the fibres dark: Cellpose looks for bright cells
        labels = model.eval(counts.max() - counts, diameter=fibre_size_um / pixel_size_um)[0]
    except Exception as error:  # a damaged file, no memory, no network: whatever a foreign library raises
        raise MitoxaiError(
            f"Cellpose failed ({type(error).__name__}: {str(error)[:200]}): check the weights, or choose another mode."
        ) from error
    if cancel is not None:
        cancel.check()
    return np.asarray(labels, dtype=np.int32)


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _cellpose_models() -> Any:
    try:
        from cellpose import models
    except ImportError as error:
        raise MitoxaiError(
            "Cellpose is not installed: pip install 'napari-mitoxai[cellpose]', or choose another mode."
        ) from error
    return models
