"""A study as folders: who is in which group, for the layouts that laboratories have."""

import numpy as np
import pytest

from napari_mitoxai.cohort import read_cohort, read_tree, with_groups, write_table
from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.imc import Panel, parse_channel, write_section

PANEL = Panel((parse_channel("153Eu_SDHA"), parse_channel("160Gd_NDUFB8")))
COUNTS = np.arange(2 * 16 * 16, dtype=np.uint16).reshape(2, 16, 16)


@pytest.fixture
def tree(tmp_path):
    """Make sections at these paths: a stack, or a folder with a file a channel where the path ends in a slash."""

    def make(*paths):
        for path in paths:
            place = tmp_path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.endswith("/"):
                place.mkdir()
                for index, name in enumerate(("153Eu_153Eu SDHA", "160Gd_160Gd NDUFB8")):
                    one = Panel((PANEL[index],))
                    write_section(place / f"X_{name}.ome.tiff", COUNTS[index : index + 1], one)
            else:
                write_section(place, COUNTS, PANEL)
        return tmp_path

    return make


def told(members):
    return [(member.subject, member.group, member.section) for member in members]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        # the published layout, with a folder above the groups
        (["Dataset/controls/C01/", "Dataset/patients/P01/"], [("C01", "control", ""), ("P01", "patient", "")]),
        # stacks in the group's folder; sections in the subject's
        (
            ["Controls/C01.ome.tiff", "patient/P01/roi_1.ome.tiff", "patient/P01/roi_2.ome.tiff"],
            [("C01", "control", ""), ("P01", "patient", "roi_1"), ("P01", "patient", "roi_2")],
        ),
        # groups of any name
        (
            ["study/young/A.tiff", "study/young/B/", "study/aged/C/left.tiff"],
            [("C", "aged", "left"), ("A", "young", ""), ("B", "young", "")],
        ),
        # nothing tells the group
        (["img/C01.tiff", "img/P01.tiff"], [("C01", "", ""), ("P01", "", "")]),
        # one subject in two formats, one of them outside the groups' folders
        (
            ["Dataset/controls/C01/", "stacks/C01.ome.tiff", "stacks/P01.ome.tiff"],
            [("C01", "control", ""), ("C01", "control", ""), ("P01", "", "")],
        ),
    ],
)  # fmt: skip
def test_folders_tell_subject_group_and_section(tree, paths, expected):
    assert told(read_tree(tree(*paths))) == expected


def test_the_folder_of_one_group_or_of_one_subject_knows_its_group(tree):
    root = tree("Dataset/controls/C01/", "Dataset/controls/C02.ome.tiff")
    expected = [("C01", "control", ""), ("C02", "control", "")]
    assert sorted(told(read_tree(root / "Dataset" / "controls"))) == expected
    assert told(read_tree(root / "Dataset" / "controls" / "C01")) == [("C01", "control", "")]


def test_a_folder_is_a_cohort_wherever_a_table_is(tree, tmp_path):
    root = tree("s/controls/C01.tiff", "s/controls/C02.tiff", "s/patients/P01.tiff", "s/patients/P02.tiff")
    cohort = read_cohort(root / "s")
    assert cohort.groups == {"C01": "control", "C02": "control", "P01": "patient", "P02": "patient"}
    assert cohort.path == (root / "s").resolve()
    # its own table goes before the folders
    write_table(root / "s" / "cohort.csv", [*cohort.members[:1], *cohort.members[2:]])
    assert read_cohort(root / "s").subjects == ["C01", "P01", "P02"]
    assert (root / "s" / "cohort.csv").read_text().splitlines()[:2] == [
        "path,subject,group",
        "controls/C01.tiff,C01,control",
    ]


def test_what_no_folder_tells_is_asked_for(tree):
    root = tree("img/C01.tiff", "img/P01.tiff")
    with pytest.raises(
        MitoxaiError, match=r"does not tell the group of C01\.tiff, P01\.tiff: .*`mitoxai cohort`"
    ):
        read_cohort(root / "img")
    with pytest.raises(MitoxaiError, match="'C' does not say which group"):
        with_groups([], ["C"])
    members = with_groups(read_tree(root), ["C=control", "P = carrier"])
    assert [member.group for member in members] == ["control", "carrier"]
    # what the folders tell is not changed
    assert with_groups(members, ["P=patient"]) == members


def test_rows_that_are_left_out_need_not_be_there(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.tiff").write_bytes(b"x")
    table = tmp_path / "cohort.csv"
    table.write_text(
        "path,subject,group,include\na.tiff,A,control,yes\nb.tiff,B,patient,\ngone.tiff,,,no\na.tiff,A,patient,No\n"
    )
    assert read_cohort(table).groups == {"A": "control", "B": "patient"}
    table.write_text("path,subject,group,include\na.tiff,A,control,maybe\n")
    with pytest.raises(
        MitoxaiError, match=r"Line 2 of cohort\.csv has 'maybe' under include: write yes or no"
    ):
        read_cohort(table)
    table.write_text("path,subject,group,include\na.tiff,A,control,no\n")
    with pytest.raises(MitoxaiError, match="no section that takes part"):
        read_cohort(table)


def test_a_written_table_reads_as_it_was(tmp_path, tree):
    root = tree("s/controls/C01.tiff", "s/patients/P01.tiff")
    text = (
        "path,subject,group,section,acquisition,batch,split,include,genotype\n"
        's/controls/C01.tiff,C01,control,left,,1,test,,"MT-TL1, m.3243A>G"\n'
        "s/patients/P01.tiff,P01,patient,,3,,,no,\n"
    )
    (root / "one.csv").write_text(text)
    from napari_mitoxai.cohort import read_table

    members = read_table(root / "one.csv")
    assert members[1].acquisition == "3"
    assert members[0].extra == {"genotype": "MT-TL1, m.3243A>G"}
    write_table(root / "two.csv", members)
    assert (root / "two.csv").read_text() == text
    with pytest.raises(MitoxaiError, match=r"two\.csv exists already"):
        write_table(root / "two.csv", members)
    elsewhere = write_table(tmp_path / "away" / "three.csv", members)
    assert read_table(elsewhere) == members


def test_one_file_may_be_two_sections_by_its_acquisitions(real_data, tmp_path):
    folder = real_data / "imc_formats" / "hyperion" / "20210305_NE_mockData1"
    members = [each for each in read_tree(folder) if each.path.suffix == ".mcd"]
    assert [each.acquisition for each in members] == ["1", "2", "3"]
    assert [each.read().shape for each in members] == [(5, 60, 60), (5, 51, 64), (5, 43, 50)]
    table = tmp_path / "cohort.csv"
    table.write_text(
        f"path,acquisition,subject,group\n{members[0].path},1,A,control\n{members[0].path},3,B,patient\n"
    )
    cohort = read_cohort(table)
    assert [member.read().shape for member in cohort.members] == [(5, 60, 60), (5, 43, 50)]
    table.write_text(table.read_text().replace(",3,", ",1,"))
    with pytest.raises(MitoxaiError, match=r"\.mcd twice"):
        read_cohort(table)


def test_looking_for_sections_can_be_stopped(tree):
    root = tree("controls/C01.tiff", "patients/P01.tiff")
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        read_tree(root, token)
