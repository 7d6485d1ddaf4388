import numpy as np
import pytest

from napari_mitoxai import simulate
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.fibres import compartments as module
from napari_mitoxai.fibres.compartments import Compartment, Widths, compartments

B, G, M, S, C = (int(part) for part in Compartment)


def by_hand(labels, widths, pixel=1.0):
    """Every pixel against every pixel: the definition, without any image processing."""
    everywhere = np.argwhere(np.ones(labels.shape, bool))
    far = np.linalg.norm(everywhere[:, None] - everywhere[None], axis=-1).reshape(labels.shape * 2)
    parts = np.full(labels.shape, B)
    room = np.array([[far[y, x][labels > 0].min() > widths.gap / 2 / pixel for x in range(labels.shape[1])]
                     for y in range(labels.shape[0])])  # fmt: skip
    for y, x in everywhere:
        if labels[y, x] == 0:
            parts[y, x] = G if not room.any() or far[y, x][room].min() > widths.gap / 2 / pixel else B
            continue
        others = far[y, x][labels != labels[y, x]]
        depth = (others.min() - 0.5) * pixel if others.size else np.inf
        parts[y, x] = (
            M if depth <= widths.membrane else S if depth <= widths.membrane + widths.submembrane else C
        )
    return parts


def test_a_square_fibre_by_hand():
    labels = np.zeros((11, 11), int)
    labels[1:10, 1:10] = 7
    parts = compartments(labels, widths=Widths(membrane=1, submembrane=2, gap=0))
    # along the middle row: outside, a pixel of membrane, two below it, and the core
    assert parts[5].tolist() == [B, M, S, S, C, C, C, S, S, M, B]
    assert np.bincount(parts.ravel()).tolist() == [40, 0, 32, 24 + 16, 9]


def test_touching_fibres_have_a_membrane_each():
    labels = np.repeat([[1] * 6 + [2] * 6], 12, axis=0)
    parts = compartments(labels, widths=Widths(1, 1, 10))
    assert parts[6].tolist() == [C, C, C, C, S, M, M, S, C, C, C, C]  # none along the image's border


@pytest.mark.parametrize("pixel", [1.0, 0.5])
@pytest.mark.parametrize("tile", [2048, 16])
def test_equals_the_definition_whatever_the_tiles(pixel, tile, monkeypatch):
    monkeypatch.setattr(module, "_TILE", tile)
    labels = simulate.section(size=48, seed=4, fibre_size_um=14).fibres.astype(np.int64)
    labels[labels > 3] += 100_000  # holes in the ids
    labels[20:24, 20:24] = 0
    widths = Widths(membrane=1.5, submembrane=2, gap=4)
    assert np.array_equal(
        compartments(labels, pixel_size_um=pixel, widths=widths), by_hand(labels, widths, pixel)
    )


def test_widths_are_lengths_and_not_pixels():
    coarse = simulate.section(size=128, seed=2).fibres
    fine = np.kron(coarse, np.ones((2, 2), int))
    parts = compartments(fine, pixel_size_um=0.5, widths=Widths(4, 6, 0))
    share = np.bincount(parts.ravel(), minlength=5) / parts.size
    expected = np.bincount(compartments(coarse, widths=Widths(4, 6, 0)).ravel(), minlength=5) / coarse.size
    assert share == pytest.approx(expected, abs=0.03)


def test_a_gap_is_narrow_and_between_fibres():
    labels = np.zeros((60, 100), int)
    labels[:, 10:30], labels[:, 40:60] = 1, 2  # 10 um apart, and 40 um of nothing to the right
    parts = compartments(labels, widths=Widths(gap=15))
    assert (parts[:, 30:40] == G).all()
    assert (parts[:, 60:] == B).all()
    assert (compartments(labels, widths=Widths(gap=8))[:, 30:40] == B).all()


def test_fibres_without_a_core_and_nothing_at_all():
    thin = np.zeros((9, 9), np.uint16)
    thin[4, 2:7] = 65_535
    parts = compartments(thin)
    assert set(np.unique(parts[thin > 0])) == {M}
    assert not compartments(np.zeros((5, 5), int)).any()
    assert (compartments(np.ones((5, 5), int)) == C).all()  # nothing but one fibre: no edge in sight


def test_what_makes_no_sense_is_said():
    with pytest.raises(MitoxaiError, match="width of the gap"):
        compartments(np.ones((4, 4), int), widths=Widths(gap=-1))
    with pytest.raises(MitoxaiError, match="one plane"):
        compartments(np.ones((2, 4, 4), int))
    with pytest.raises(MitoxaiError, match="pixel"):
        compartments(np.ones((4, 4), int), pixel_size_um=0)
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        compartments(np.ones((4, 4), int), cancel=token)
