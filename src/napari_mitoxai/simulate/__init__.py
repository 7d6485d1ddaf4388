"""Simulated muscle sections with a planted class signal whose place is known to the pixel."""

from napari_mitoxai.simulate.acquire import SimulatedSection, section
from napari_mitoxai.simulate.channels import PANEL
from napari_mitoxai.simulate.concepts import concept_cohort
from napari_mitoxai.simulate.signals import SIGNALS, Signal
from napari_mitoxai.simulate.write import cohort

__all__ = ["PANEL", "SIGNALS", "Signal", "SimulatedSection", "cohort", "concept_cohort", "section"]
