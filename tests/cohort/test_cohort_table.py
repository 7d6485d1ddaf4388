import pytest

from napari_mitoxai.cohort import read_cohort
from napari_mitoxai.common import MitoxaiError


@pytest.fixture
def table(tmp_path):
    """Write a table of sections that exist; the sections are not opened by reading it."""
    for name in ("C01", "C02", "P01", "P02"):
        (tmp_path / f"{name}.ome.tiff").write_bytes(b"x")

    def write(text, name="cohort.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


GOOD = "path,subject,group\nC01.ome.tiff,C01,control\nP01.ome.tiff,P01,patient\n"


def test_a_table_gives_members_with_absolute_paths_and_classes_control_first(table, tmp_path):
    cohort = read_cohort(str(table("path,subject,group\nP01.ome.tiff,P01,aged\nC01.ome.tiff,C01,control\n")))
    assert cohort.classes == ["control", "aged"]
    assert cohort.subjects == ["P01", "C01"]
    assert cohort.members[0].path == (tmp_path / "P01.ome.tiff").resolve()


def test_relative_paths_start_at_the_table_not_at_the_working_folder(table, tmp_path, monkeypatch):
    path = table(GOOD)
    monkeypatch.chdir(tmp_path.parent)
    assert read_cohort(path).members[0].path.exists()


def test_optional_and_extra_columns_are_kept(table):
    cohort = read_cohort(
        table(
            "\ufeffpath, subject ,group,section,batch,split,age\n"
            "C01.ome.tiff, C01,control,a,1,Train,007\nC02.ome.tiff,C01,control,b,2,train,\n"
            "P01.ome.tiff,P01,patient,,,test,NA\n"
        )
    )
    first, second, third = cohort.members
    assert (first.subject, first.section, first.batch, first.split) == ("C01", "a", "1", "train")
    assert [member.extra for member in cohort.members] == [{"age": "007"}, {"age": ""}, {"age": "NA"}]
    assert second.subject == "C01"
    assert third.split == "test"
    assert cohort.subjects == ["C01", "P01"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,subject\nC01.ome.tiff,C01\n", "cohort.csv has no column group .it has path, subject."),
        ("path\tsubject\tgroup\nC01.ome.tiff\tC01\tcontrol\n", "has no column path, subject, group"),
        ("path,subject,group\n", "has no rows"),
        ("", "not a readable CSV"),
        (GOOD + "X9.ome.tiff,X9,patient\n", "Line 4 of cohort.csv names X9.ome.tiff, which is not there"),
        (GOOD + "C02.ome.tiff,,control\n", "Line 4 of cohort.csv has no subject"),
        (GOOD + ",C02,\n", "Line 4 of cohort.csv has no path, group"),
        (GOOD + "C02.ome.tiff,P01,control\n", "subject P01 is in group control and patient"),
        (GOOD + "C01.ome.tiff,C01,control\n", "C01.ome.tiff twice"),
        (GOOD + "./C01.ome.tiff,C01,control\n", "C01.ome.tiff twice"),
        (
            "path,subject,group\nC01.ome.tiff,C01,control\nC02.ome.tiff,C02,control\n",
            "has the group control only",
        ),
        (
            "path,subject,group,split\nC01.ome.tiff,C01,control,train\nP01.ome.tiff,P01,patient,dev\n",
            "Line 3 of cohort.csv has the split 'dev': write train, validation or test",
        ),
        (
            "path,subject,group,split\nC01.ome.tiff,C01,control,train\nC02.ome.tiff,C01,control,test\n",
            "subject C01 is in split test and train",
        ),
    ],
)
def test_a_bad_table_is_one_sentence(table, text, sentence):
    with pytest.raises(MitoxaiError, match=sentence) as caught:
        read_cohort(table(text))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_no_table_a_folder_and_a_picture_are_sentences(tmp_path):
    with pytest.raises(MitoxaiError, match="is not there"):
        read_cohort(tmp_path / "none.csv")
    with pytest.raises(MitoxaiError, match="has no image files in it"):
        read_cohort(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"II*\0\xff\xfe\xfa" * 50)
    with pytest.raises(MitoxaiError, match=r"a\.csv"):
        read_cohort(tmp_path / "a.csv")


def test_a_table_may_have_semicolons_and_must_be_in_utf_8(table, tmp_path):
    assert read_cohort(table(GOOD.replace(",", ";"))).subjects == read_cohort(table(GOOD)).subjects
    (tmp_path / "excel.csv").write_bytes("path,subject,group\nMüller.tiff,M,control\n".encode("cp1252"))
    with pytest.raises(MitoxaiError, match=r"excel.csv is not written in UTF-8"):
        read_cohort(tmp_path / "excel.csv")
