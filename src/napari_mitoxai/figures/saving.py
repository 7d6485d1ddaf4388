"""Figures on disk: whole or not at all, the same bytes again, and beside them what made them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import sha256, write_json, written_beside
from napari_mitoxai.common.provenance import now, software

# What each format is told; dates and versions stay out, so that the same figure gives the same file.
FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"format": "png", "metadata": {"Software": None}},
    ".pdf": {"format": "pdf", "metadata": {"CreationDate": None, "Producer": None, "Creator": None}},
    ".svg": {"format": "svg", "metadata": {"Date": None, "Creator": None}},
    ".tiff": {"format": "tiff", "pil_kwargs": {"compression": "tiff_lzw"}},
    ".tif": {"format": "tiff", "pil_kwargs": {"compression": "tiff_lzw"}},
}
# Text stays text: TrueType in a PDF, text elements in an SVG, with ids that do not change from run to run.
_VECTOR_TEXT = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "napari-mitoxai"}
_settings = Lock()


def figure_format(path: Path) -> dict[str, Any]:
    """How to write a figure of this name.

    Raises
    ------
    MitoxaiError
        If its ending is none of the known ones.
    """
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise MitoxaiError(
            f"{path.name} does not end in a figure's format: use {', '.join(FORMATS)}."
        ) from None


def save_figure(figure: Figure, path: Path | str, *, overwrite: bool = False) -> Path:
    """Write a figure.

    Parameters
    ----------
    figure : Figure
        From `compose`.
    path : Path
        Ending in .png, .pdf, .svg or .tiff. Images in a PDF or SVG keep the figure's resolution; lines and
        text are vectors.
    overwrite : bool
        Whether a file of this name may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    MitoxaiError
        If the ending is unknown, the file exists, or it cannot be written.
    """
    path = Path(path)
    options = figure_format(path)
    with written_beside(path, overwrite=overwrite) as partial, _vector_text():
        figure.savefig(partial, dpi="figure", facecolor=figure.get_facecolor(), **options)
    return path


def write_sidecar(
    figures: Sequence[Path | str], made_from: Mapping[str, Any], *, overwrite: bool = False
) -> Path:
    """Write ``<figure>.json`` beside a figure: all that is needed to make it again.

    Parameters
    ----------
    figures : sequence of Path
        The figure's files, one a format; the sidecar is named after the first.
    made_from : mapping
        Parameters, inputs with their checksums, the model and its verdict: anything JSON can hold.
    overwrite : bool
        Whether a file of this name may be replaced.

    Returns
    -------
    Path
        The sidecar.

    Raises
    ------
    MitoxaiError
        If it exists or cannot be written.
    """
    paths = [Path(path) for path in figures]
    sidecar = paths[0].with_suffix(".json")
    files = {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in paths}
    write_json(
        sidecar, {"files": files, "made": now(), "software": software(), **made_from}, overwrite=overwrite
    )
    return sidecar


@contextmanager
def _vector_text() -> Iterator[None]:
    """Set what matplotlib reads only from its global settings, and put it back; nothing else is touched."""
    settings: Any = matplotlib.rcParams
    with _settings:
        before = {key: settings[key] for key in _VECTOR_TEXT}
        settings.update(_VECTOR_TEXT)
        try:
            yield
        finally:
            settings.update(before)
