"""File > Open Sample: a simulated or a published patient and a cohort, whose files stay on the disk to be trained on."""

import threading
from pathlib import Path
from typing import Any

import napari
import numpy as np

from napari_mitoxai import __version__
from napari_mitoxai.cohort import TABLE
from napari_mitoxai.cohort.published import download
from napari_mitoxai.common import CancelToken, ProgressCallback, no_progress
from napari_mitoxai.imc import write_section
from napari_mitoxai.napari.layers import channel_layers
from napari_mitoxai.napari.opening import open_section
from napari_mitoxai.napari.places import cache_folder
from napari_mitoxai.napari.state import WindowState, state_of

_SIGNAL = "complex_i_loss"
_SUBJECTS_A_GROUP = 4
_SIZE = 512
# What trains well in a minute on such small sections.
_SUGGESTIONS: dict[str, Any] = {"patch_size": 128, "input_size": 64, "epochs": 8, "hold_out": ["C04", "P04"]}
_NEW_PATIENT = "P99"  # not in the cohort: a section that the model has never seen
_NEW_SEED = 99
_PATIENT = "P09"  # the patient whose fibres are not all deficient
_WARREN: dict[str, Any] = {"hold_out": ["C03", "P09"]}
_making = threading.Lock()


def simulated_cohort() -> list[tuple[Any, ...]]:
    """Open a simulated patient who lost complex I, and offer a simulated cohort for training.

    The patient is made at once; the cohort in the background, when there is a window to train it in; the workspace is opened for it. Both
    are kept in the user's cache and are there already the next time.

    Returns
    -------
    list of layer tuples
        The channels of the patient's section.
    """
    folder = _folder()
    path = folder / "new" / f"{_NEW_PATIENT}.ome.tiff"
    if not path.exists():
        from napari_mitoxai.simulate import section

        made = section(_SIGNAL, patient=True, size=_SIZE, seed=_NEW_SEED)
        write_section(path, made.counts, made.panel)
    viewer = napari.current_viewer()
    if viewer is not None:
        state = state_of(viewer)
        if not state.docks:  # where the progress is seen, and what comes next
            viewer.window.add_plugin_dock_widget("napari-mitoxai", "Open workspace")
        _offer_cohort(state, folder / "cohort.csv")
    return [*channel_layers(open_section(path))]


def _folder() -> Path:
    return cache_folder() / f"simulated-cohort-{__version__}"


def make_cohort(
    table: Path, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> Path:
    """Simulate the cohort of `table` if it is not there yet."""
    from napari_mitoxai.simulate import cohort

    with _making:
        if not table.exists():
            # overwrite: an earlier attempt may have been stopped before the table was written
            cohort(
                table.parent,
                _SUBJECTS_A_GROUP,
                _SIGNAL,
                _SIZE,
                overwrite=True,
                progress=progress,
                cancel=cancel,
            )
    return table


def _offer_cohort(state: WindowState, table: Path) -> None:
    def offer(made: Path) -> None:
        state.set_cohort(made, **_SUGGESTIONS)

    if table.exists():
        offer(table)
    elif not state.runner.busy:
        state.runner.run(
            "Simulating a cohort",
            lambda progress, cancel: make_cohort(table, progress, cancel),
            on_done=offer,
        )


def warren2020() -> list[tuple[Any, ...]]:
    """Open a patient of Warren et al. 2020 and offer the cohort; what is not in the user's cache is downloaded now.

    In a window the download runs in the background, with progress and Cancel in the workspace, which is opened for it;
    the section follows when it is there.

    Returns
    -------
    list of layer tuples
        The channels of the patient's section; where it still has to be downloaded, an image without channels, which
        napari takes for a sample and adds no layer for.

    Raises
    ------
    MitoxaiError
        Without a window, if it cannot be downloaded.
    """
    table = cache_folder() / "warren-2020" / TABLE
    viewer = napari.current_viewer()
    if viewer is None:
        download(table.parent)
        return [*channel_layers(open_section(table.parent / f"{_PATIENT}.ome.tiff"))]
    state = state_of(viewer)
    if table.exists():
        state.set_cohort(table, **_WARREN)
        return [*channel_layers(open_section(table.parent / f"{_PATIENT}.ome.tiff"))]
    if not state.docks:
        viewer.window.add_plugin_dock_widget("napari-mitoxai", "Open workspace")

    def show(made: Path) -> None:
        state.set_cohort(made, **_WARREN)
        state.viewer.open(made.parent / f"{_PATIENT}.ome.tiff", plugin="napari-mitoxai")

    state.runner.run(
        "Downloading Warren 2020",
        lambda progress, cancel: download(table.parent, progress=progress, cancel=cancel),
        on_done=show,
    )
    return [(np.empty((0, 1, 1)), {"channel_axis": 0}, "image")]
