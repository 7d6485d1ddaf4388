import numpy as np
import pytest
from numpy.testing import assert_array_equal

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.fibres import (
    FibreClass,
    causes,
    classes_path,
    classify,
    delete,
    merge,
    read_classes,
    split,
    write_classes,
)


@pytest.fixture
def labels():
    """Ids with holes: 3 and 7 beside each other, 20 far away."""
    made = np.zeros((60, 80), np.int32)
    made[5:25, 5:25] = 3
    made[5:25, 29:49] = 7
    made[40:55, 60:75] = 20
    return made


def test_deleted_fibres_are_outside(labels):
    edit = delete(labels, [3, 20])
    edit.apply(labels)
    assert set(np.unique(labels)) == {0, 7}
    assert edit.changed == (3, 20)


def test_merged_fibres_take_the_membrane_between_them(labels):
    edit = merge(labels, [7, 3])
    edit.apply(labels)
    assert set(np.unique(labels)) == {0, 3, 20}
    assert (labels[7:23, 5:49] == 3).all()
    assert edit.changed == (7, 3)
    assert (labels[:, :4] == 0).all()


def test_what_lies_between_merged_fibres_is_not_lost(labels):
    labels[5:25, 26:28] = 9
    with pytest.raises(MitoxaiError, match="another lies between"):
        merge(labels, [3, 7])


def test_only_neighbours_merge(labels):
    with pytest.raises(MitoxaiError, match="apart"):
        merge(labels, [3, 20])
    with pytest.raises(MitoxaiError, match="two or more"):
        merge(labels, [3, 3])


@pytest.mark.parametrize("line", [[(0, 15), (30, 15)], [(2, 2), (28, 28)], [(0, 12), (12, 16), (30, 12)]])
def test_a_line_across_a_fibre_makes_two_and_loses_no_pixel(labels, line):
    before = labels.copy()
    edit = split(labels, line)
    edit.apply(labels)
    assert edit.changed == (3, 21)
    assert_array_equal(labels > 0, before > 0)
    assert_array_equal(labels == 7, before == 7)
    assert min((labels == 3).sum(), (labels == 21).sum()) > 100


def test_one_line_cuts_all_that_it_crosses(labels):
    edit = split(labels, [(14.6, 0), (14.6, 79)])
    assert edit.changed == (3, 7, 21, 22)


@pytest.mark.parametrize(
    "line", [[(30, 0), (30, 79)], [(0, 15), (12, 15)], [(-90, 0), (-50, 0)], [(0, 5), (30, 5)]]
)
def test_a_line_that_divides_nothing_is_refused(labels, line):
    with pytest.raises(MitoxaiError, match="from side to side"):
        split(labels, line)


def test_edits_of_what_is_not_there_are_refused(labels):
    with pytest.raises(MitoxaiError, match="No fibre is selected"):
        delete(labels, [])
    with pytest.raises(MitoxaiError, match="no fibre 4"):
        delete(labels, [3, 4])
    with pytest.raises(MitoxaiError, match="two points"):
        split(labels, [(1, 1)])


def _disc(shape, centre, radii):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1


def test_round_fibres_are_analysable_and_long_cut_tiny_or_concave_ones_are_not():
    labels = np.zeros((200, 300), np.int32)
    labels[_disc(labels.shape, (50, 50), (25, 25))] = 1
    labels[_disc(labels.shape, (50, 130), (12, 40))] = 4  # L2 / area = 80^2 / (pi 12 40) = 4.2
    labels[_disc(labels.shape, (150, 20), (25, 25))] = 5  # touches the border
    labels[_disc(labels.shape, (150, 60), (8, 8))] = 6  # 201 um2
    labels[100:160, 100:160] = 8
    labels[115:145, 100:150] = 0  # a U
    labels[_disc(labels.shape, (150, 250), (20, 28))] = 9
    kinds = classify(labels)
    good, bad = FibreClass.ANALYSABLE, FibreClass.NOT_TRANSVERSE
    assert kinds == {1: good, 4: bad, 5: bad, 6: bad, 8: bad, 9: good}
    assert classify(labels, pixel_size_um=2.0)[6] is good
    assert classify(np.zeros((5, 5), np.int32)) == {}


def test_classes_come_back_with_who_gave_them_and_are_not_overwritten(tmp_path):
    path = classes_path(tmp_path / "P03_fibres.ome.tiff")
    assert path.name == "P03_fibres_classes.csv"
    kinds = {12: FibreClass.FOLDED, 3: FibreClass.ANALYSABLE}
    write_classes(path, kinds, {12})
    assert path.read_text().splitlines() == ["fibre,class,by", "3,analysable,rule", "12,folded,hand"]
    assert read_classes(path) == (kinds, {12})
    with pytest.raises(MitoxaiError, match="exists already"):
        write_classes(path, kinds)
    write_classes(path, {}, overwrite=True)
    assert read_classes(path) == ({}, set())


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "fibre,class,by\n1,square,rule\n", "fibre,class,by\nx,folded,hand\n"]
)
def test_other_tables_are_no_classes(tmp_path, text):
    path = tmp_path / "classes.csv"
    path.write_text(text)
    if text:
        with pytest.raises(MitoxaiError, match="no table of fibre classes"):
            read_classes(path)
    else:
        assert read_classes(path) == ({}, set())
    with pytest.raises(MitoxaiError, match="is not there"):
        read_classes(tmp_path / "none.csv")


def test_errors_are_sorted_by_cause():
    truth = np.zeros((100, 100), np.int32)
    truth[0:20, 0:20] = 1  # found
    truth[0:20, 30:50] = 2  # missed
    truth[30:50, 0:20] = 3  # in two parts
    truth[30:50, 40:60], truth[30:50, 61:81] = 4, 5  # in one
    truth[60:80, 0:20] = 6  # found much too large
    truth[60:80, 60:90] = 7  # too small
    labels = np.zeros_like(truth)
    labels[0:20, 0:20] = 1
    labels[30:50, 0:10], labels[30:50, 10:20] = 2, 3
    labels[30:50, 40:81] = 4
    labels[60:84, 0:45] = 5
    labels[60:80, 60:72] = 6
    labels[90:100, 90:100] = 7
    found = causes(labels, truth)
    assert found.missed == {2: "missed", 3: "split", 4: "merged", 5: "merged", 6: "too large", 7: "too small"}
    assert found.wrong == {2: "split", 3: "split", 4: "merged", 5: "too large", 6: "too small", 7: "extra"}
