"""Which name a plane gets, and from where."""

import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Channel, Panel, Role, parse_channel, read_panel
from napari_mitoxai.imc.names import Names, resolve


def sources(panel):
    return [(channel.target, channel.source) for channel in panel]


def test_each_source_goes_before_the_next_and_each_plane_takes_the_first_that_names_it():
    panel, notes = resolve(
        4,
        [
            Names("OME name", ["SDHA", "", "", ""]),
            Names("page name", ["x", "158Gd_TOM22", "", ""]),
            Names("ImageJ label", ["x", "y", "NDUFB8", ""]),
        ],
        what="a",
    )
    assert sources(panel) == [
        ("SDHA", "OME name"), ("TOM22", "page name"), ("NDUFB8", "ImageJ label"), ("ch3", "position"),
    ]  # fmt: skip
    assert notes == ["1 of 4 channels have no name; they are named by their position."]


def test_a_list_of_another_length_is_not_guessed_at():
    panel, notes = resolve(2, [Names("OME name", ["SDHA"]), Names("page name", ["COX4", "TOM22"])], what="a")
    assert panel.targets == ["COX4", "TOM22"]
    assert "1 OME names for 2 channels" in notes[0]


def test_what_software_writes_where_nobody_gave_a_name_gives_way():
    names = [Names("OME name", ["Channel:0:0", "C:1"]), Names("page name", ["153Eu_SDHA", "158Gd_TOM22"])]
    assert resolve(2, names, what="a")[0].targets == ["SDHA", "TOM22"]
    assert resolve(2, names[:1], what="a")[0].targets == ["Channel:0:0", "C:1"]  # better than nothing


def test_the_isotope_may_come_from_another_place_than_the_name():
    names = [
        Names("OME name", ["SDHA", "NDUFA13", "COX4"]),
        Names("page name", ["153Eu_SDHA", "164Dy_GRIM19", "172Yb_MTCO1"]),
    ]
    panel, _ = resolve(3, names, what="a")
    assert [channel.label for channel in panel] == ["SDHA (153Eu)", "NDUFA13 (164Dy)", "COX4"]


def test_names_that_stand_for_several_channels_are_numbered_and_said_so():
    panel, notes = resolve(3, [Names("OME name", ["DNA", "DNA", "DNA 1"])], what="a")
    assert panel.targets == ["DNA 2", "DNA 3", "DNA 1"]
    assert "called DNA" in notes[0]


STEINBOCK = "channel,name,keep,ilastik\nEu153,SDHA,1,\nIr191,DNA1,0,\nGd160,NDUFB8,1,1\n"


@pytest.fixture
def write(tmp_path):
    def written(text):
        (tmp_path / "panel.csv").write_text(text)
        return tmp_path / "panel.csv"

    return written


def test_steinbocks_panel_names_the_planes_of_a_nameless_stack_in_its_order(write):
    table = read_panel(write(STEINBOCK))
    panel, notes = resolve(2, [], table, what="a")
    assert [channel.label for channel in panel] == ["SDHA (153Eu)", "NDUFB8 (160Gd)"]
    assert {channel.source for channel in panel} == {"panel file"}
    assert any("follow the order of panel.csv" in note for note in notes)
    with pytest.raises(MitoxaiError, match="lists 2 channels and a has 3"):
        resolve(3, [], table, what="a")


def test_a_panel_is_matched_by_isotope_where_the_file_has_them_whatever_its_order(write):
    table = read_panel(write("Metal Tag,Target,full\nGd160,NDUFB8,1\nEu153,SDHA,1\n"))
    names = [Names("OME name", ["old_1", "old_2", "Hist"], ["Eu153", "Gd160", "Pr141"])]
    panel, notes = resolve(3, names, table, what="a")
    assert sources(panel) == [("SDHA", "panel file"), ("NDUFB8", "panel file"), ("Hist", "OME name")]
    assert any("does not name Hist" in note for note in notes)
    with pytest.raises(MitoxaiError, match="list by isotope"):
        resolve(2, [], table, what="a")


def test_a_panel_gives_isotopes_and_roles_by_target(write):
    table = read_panel(write("name,metal,role\nGRIM19,Dy164,\nSpectrin,Tb159,membrane\n"))
    panel, _ = resolve(2, [Names("OME name", ["Spectrin", "NDUFA13"])], table, what="a")
    assert [channel.label for channel in panel] == ["Spectrin (159Tb)", "GRIM19 (164Dy)"]
    assert [channel.role for channel in panel] == [Role.MEMBRANE, Role.COMPLEX_I]


def test_a_panel_made_in_python_is_one_too():
    mine = Panel((parse_channel("SDHA"), Channel("mine", role=Role.MEMBRANE)))
    panel, _ = resolve(2, [], mine, what="a")
    assert panel.targets == ["SDHA", "mine"]
    assert panel[1].role == Role.MEMBRANE


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no column"),
        ("a,b\n1,2\n", r"has no column for isotopes or proteins \(it has a, b\)"),
        ("channel,name,keep\nEu153,SDHA,0\n", "lists no channels"),
        ("name,role\nSDHA,friend\n", "the role 'friend', which is not known"),
    ],
)
def test_what_is_no_panel(write, text, sentence):
    with pytest.raises(MitoxaiError, match=sentence):
        resolve(1, [], read_panel(write(text)), what="a")


def test_a_panel_of_other_channels_is_refused(write):
    with pytest.raises(MitoxaiError, match=r"names none of the channels of a \(COX4\)"):
        resolve(1, [Names("OME name", ["COX4"])], read_panel(write("name\nSDHA\n")), what="a")
