import math

import numpy as np
import pytest

from napari_mitoxai.figures import ROLE_COLOURS, ChannelImage, choose_channels, composite, grey

MITO, MEMBRANE = "mitochondrial mass", "membrane"


def ramp(role, name="x"):
    return ChannelImage(name, role, np.linspace(0, 10, 101).reshape(1, -1))


def test_full_counts_have_the_colour_of_the_role():
    result = composite([ramp(MITO)], percentile=100)
    np.testing.assert_allclose(result.image[0, -1], ROLE_COLOURS[MITO], atol=1e-6)
    np.testing.assert_allclose(result.image[0, 50], np.array(ROLE_COLOURS[MITO]) / 2, atol=1e-6)
    assert result.image[0, 0].max() == 0
    assert result.legend[0].limits == (0, 10)


@pytest.mark.parametrize(
    "roles", [["other"] * 3, [MEMBRANE, "OXPHOS complex III", "OXPHOS complex IV"], [MEMBRANE, MITO, MITO]]
)
def test_channels_shown_together_never_look_alike(roles):
    first, second, third = (entry.colour for entry in composite([ramp(role) for role in roles]).legend)
    assert min(math.dist(first, second), math.dist(first, third), math.dist(second, third)) > 0.3


def test_tiny_counts_and_empty_channels():
    counts = np.zeros((50, 50))
    assert not grey(counts).any()
    counts[0, 0] = 1
    assert grey(counts).max() == 1
    counts[0, 1] = np.nan
    assert np.isfinite(grey(counts)).all()


def test_arcsinh_lifts_the_low_counts():
    counts = ramp(MITO).counts
    assert grey(counts, 100, arcsinh=True)[0, 10] > 2 * grey(counts, 100)[0, 10]
    assert grey(counts, 100, arcsinh=True).max() == 1


@pytest.mark.parametrize(
    ("roles", "chosen"),
    [
        ([MITO, "OXPHOS complex I", "other", MEMBRANE], [3, 0, 1]),
        (["OXPHOS complex IV", "OXPHOS complex IV", "OXPHOS complex III", MEMBRANE], [3, 2, 0]),
        (["other", "other", "other", "other"], [0, 1, 2]),
        (["other"], [0]),
        ([], []),
    ],
)
def test_the_channels_that_tell_most_are_chosen(roles, chosen):
    assert choose_channels(roles) == chosen


def test_every_pair_of_channels_shown_together_differs_for_colour_blind_readers():
    # Viénot, Brettel and Mollon 1999: what a deuteranope sees, in linear RGB
    deuteranope = np.array([[0.292, 0.708, 0], [0.292, 0.708, 0], [-0.022, 0.022, 1]])
    roles = [MEMBRANE, MITO, "OXPHOS complex I"]
    seen = [deuteranope @ np.array(ROLE_COLOURS[role]) ** 2.2 for role in roles]
    for first in range(3):
        for second in range(first):
            assert np.linalg.norm(seen[first] - seen[second]) > 0.2
