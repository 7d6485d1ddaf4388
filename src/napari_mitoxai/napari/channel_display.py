"""Keeps the channel layers of a window as the user wants channels shown: colours, contrast, linear or arcsinh."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject, QTimer

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.imc import Section
from napari_mitoxai.imc.panel import canonical
from napari_mitoxai.napari.contrast import limits_of, pooled_limits, sample, sampled_limits
from napari_mitoxai.napari.display import Display, Limits
from napari_mitoxai.napari.layers import METADATA_KEY, facts_of
from napari_mitoxai.napari.opening import open_section
from napari_mitoxai.napari.overview import overview_of
from napari_mitoxai.napari.planes import ShownPlane
from napari_mitoxai.napari.styles import channel_colormap

if TYPE_CHECKING:
    from napari_mitoxai.napari.state import WindowState

_NAMED = 3  # files in a message


class ChannelDisplay(QObject):
    """Applies a window's `Display` to its channel layers, those that are there and those that come.

    Parameters
    ----------
    state : WindowState
        Whose viewer.
    """

    def __init__(self, state: "WindowState") -> None:
        super().__init__()
        self._state = state
        self._setting = False
        self._waiting: list[Any] = []

    @property
    def _display(self) -> Display:
        return self._state.display

    def layers(self) -> list[Any]:
        """The channel layers of all sections."""
        viewer = self._state.viewer
        found = [(layer, facts_of(layer)) for layer in viewer.layers] if viewer is not None else []
        return [layer for layer, facts in found if facts is not None and facts.kind == "channel"]

    def watch(self, layer: Any) -> None:
        """Follow a layer that has come."""
        facts = facts_of(layer)
        if facts is not None and facts.kind == "channel":
            layer.events.contrast_limits.connect(self._on_limits)

    # --- colours --------------------

    def paint(self, layer: Any, colour: str | None = None) -> None:
        """Give a channel layer a colour, or its own anew."""
        kept = layer.metadata[METADATA_KEY]
        kept["colour"] = colour or kept.get("colour") or "#d0d0d0"
        limits = tuple(float(limit) for limit in layer.contrast_limits)
        layer.colormap = channel_colormap(kept["colour"], limits if self._display.arcsinh else None)

    def choose_colour(self, target: str, colour: str) -> None:
        """Show a target in a colour, in all sections, and remember it."""
        self._display.colours[canonical(target)] = colour
        self._display.save()
        for layer in self._twins(target):
            self.paint(layer, colour)

    def set_arcsinh(self, arcsinh: bool) -> None:
        """Let colours follow the arcsinh of counts, or counts."""
        self._display.arcsinh = arcsinh
        for layer in self.layers():
            self.paint(layer)

    # --- contrast --------------------

    def set_percentiles(self, low: float, high: float) -> None:
        """Where colours begin and are full, in percent of a channel's counts; shown at once."""
        self._display.percentiles = (low, high)
        self.auto()

    def set_same(self, same: bool) -> None:
        """Give each target the same limits in all sections, or each section its own; shown at once."""
        self._display.same = same
        self._display.limits.clear()
        self.auto()

    def auto(self) -> None:
        """Set the contrast of all visible channels anew, a layer at a time so that the window stays free."""
        visible = [layer for layer in self.layers() if layer.visible]
        if self._display.same:
            self._compare(visible)
            return
        start = not self._waiting
        self._waiting = visible
        if start and visible:
            QTimer.singleShot(0, self._next)

    def settle(self, layer: Any) -> None:
        """Set the contrast of a layer of which nothing was known until its overview was whole."""
        if layer.metadata[METADATA_KEY].get("provisional_contrast"):
            self._set(layer, self._own_limits(layer))

    def _next(self) -> None:
        viewer = self._state.viewer
        layer = self._waiting.pop(0) if self._waiting else None
        if layer is None or viewer is None:
            return
        if layer in viewer.layers:
            try:
                self._set(layer, self._own_limits(layer))
            except MitoxaiError as error:
                self._waiting.clear()
                show_error(str(error))
        if self._waiting:
            QTimer.singleShot(0, self._next)

    def _own_limits(self, layer: Any) -> Limits:
        overview, percentiles = overview_of(layer), self._display.percentiles
        finest = layer.data[0] if layer.multiscale else layer.data
        if isinstance(finest, ShownPlane):
            facts = facts_of(layer)
            assert facts is not None
            return sampled_limits(open_section(facts.path), [finest], percentiles)[0]
        return limits_of((overview.values if overview is not None else finest).ravel(), percentiles)

    def _compare(self, layers: Sequence[Any]) -> None:
        """Find the limits that the targets of some layers have in all sections together: the open ones and the cohort's."""
        facts = [facts_of(layer) for layer in self.layers()]
        open_ones = list(dict.fromkeys(each.path for each in facts if each is not None))
        shown = [facts_of(layer) for layer in layers]
        targets = list(dict.fromkeys(each.what for each in shown if each is not None))
        cohort, percentiles = self._state.cohort, self._display.percentiles
        if not targets:
            return

        def work(progress: ProgressCallback, cancel: CancelToken) -> tuple[dict[str, Limits], list[str]]:
            return common_limits([*open_ones, *_members(cohort)], targets, percentiles, progress, cancel)

        self._state.runner.run("Comparing sections", work, on_done=self._on_compared, quiet=True)

    def _on_compared(self, found: tuple[dict[str, Limits], list[str]]) -> None:
        limits, failed = found
        self._display.limits.update(limits)
        for layer in self.layers():
            facts = facts_of(layer)
            common = self._display.common_limits(facts.what) if facts is not None else None
            if common is not None:
                self._set(layer, common)
        if failed:
            more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
            show_info(
                f"{', '.join(failed[:_NAMED])}{more} could not be read and count for nothing in the contrast."
            )

    def _twins(self, target: str) -> Iterable[Any]:
        for layer in self.layers():
            facts = facts_of(layer)
            if facts is not None and canonical(facts.what) == canonical(target):
                yield layer

    def _set(self, layer: Any, limits: Limits) -> None:
        self._setting = True
        try:
            layer.contrast_limits_range = limits
            layer.contrast_limits = limits
            layer.metadata[METADATA_KEY]["provisional_contrast"] = False
            if self._display.arcsinh:
                self.paint(layer)
        finally:
            self._setting = False

    def _on_limits(self, event: Any) -> None:
        """The user moved a slider: the scale follows, and so do the other sections where they are to look the same."""
        layer, facts = event.source, facts_of(event.source)
        if self._setting or facts is None:
            return
        low, high = (float(limit) for limit in layer.contrast_limits)
        limits = (low, high)
        if self._display.same:
            self._display.limits[canonical(facts.what)] = limits
            for twin in self._twins(facts.what):
                if twin is not layer:
                    self._set(twin, limits)
        if self._display.arcsinh:
            self.paint(layer)


def _members(cohort: Path | None) -> list[str]:
    """The sections of a cohort; none where it cannot be read, which its own dock tells."""
    if cohort is None:
        return []
    from napari_mitoxai.cohort import read_cohort

    try:
        return [str(member.address) for member in read_cohort(cohort).members]
    except MitoxaiError:
        return []


def common_limits(
    addresses: Sequence[str],
    targets: Sequence[str],
    percentiles: tuple[float, float],
    progress: ProgressCallback,
    cancel: CancelToken,
) -> tuple[dict[str, Limits], list[str]]:
    """Limits by target over several sections.

    Parameters
    ----------
    addresses : sequence of str
        The sections; one that is given twice counts once.
    targets : sequence of str
        Matched by name; a section that lacks one does not count for it.
    percentiles : (float, float)
        Of all sections' counts together, each with the same weight.
    progress, cancel

    Returns
    -------
    limits : dict
        By canonical target.
    failed : list of str
        Names of files that could not be read.
    """
    samples: dict[str, list[Any]] = {canonical(target): [] for target in targets}
    failed = []
    unique = list(dict.fromkeys(str(Path(address).resolve()) for address in addresses))
    for done, address in enumerate(unique):
        cancel.check()
        progress(Progress("Comparing sections", done, len(unique), Path(address).name))
        try:
            section = open_section(address)
            for index, channel in enumerate(section.panel):
                if canonical(channel.target) in samples:
                    samples[canonical(channel.target)].append(_sample(section, index))
        except MitoxaiError:
            failed.append(Path(address).name)
    return {
        target: pooled_limits(values, percentiles) for target, values in samples.items() if values
    }, failed


def _sample(section: Section, index: int) -> Any:
    try:
        return sample(ShownPlane(section, section.data[index]))
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise MitoxaiError(str(error)) from error
