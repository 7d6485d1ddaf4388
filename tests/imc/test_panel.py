import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Channel, Panel, Role, parse_channel


@pytest.mark.parametrize(
    ("name", "target", "metal", "mass", "role"),
    [
        ("153Eu_SDHA", "SDHA", "Eu", 153, Role.COMPLEX_II),
        ("SDHA(Eu153Di)", "SDHA", "Eu", 153, Role.COMPLEX_II),
        ("153Eu_153Eu SDHA", "SDHA", "Eu", 153, Role.COMPLEX_II),
        ("C01_C01_153Eu_153Eu SDHA", "SDHA", "Eu", 153, Role.COMPLEX_II),
        ("C01_C01_C01_174Yb_174Yb UqCRC2", "UqCRC2", "Yb", 174, Role.COMPLEX_III),
        ("Laminin_681((851))Sm147", "Laminin_681((851))", "Sm", 147, None),
        ("Eu153", "153Eu", "Eu", 153, Role.OTHER),
        ("107Ag", "107Ag", "Ag", 107, Role.OTHER),
        ("MTCO1", "MTCO1", None, None, Role.COMPLEX_IV),
        ("COX4", "COX4", None, None, Role.COMPLEX_IV),
        ("COX4+4L2", "COX4+4L2", None, None, Role.COMPLEX_IV),
        ("TOM22", "TOM22", None, None, Role.MITOCHONDRIAL_MASS),
        ("GRIM19", "GRIM19", None, None, Role.COMPLEX_I),
        ("NDUFA13", "NDUFA13", None, None, Role.COMPLEX_I),
        ("VDAC1", "VDAC1", None, None, Role.MITOCHONDRIAL_MASS),
        ("dystrophin", "dystrophin", None, None, Role.MEMBRANE),
        ("OSCP", "OSCP", None, None, Role.COMPLEX_V),
        # proteins that look like a target and an isotope
        ("CD163", "CD163", None, None, Role.OTHER),
        ("S100", "S100", None, None, Role.OTHER),
        ("CD68", "CD68", None, None, Role.OTHER),
        ("CD163(Nd148Di)", "CD163", "Nd", 148, Role.OTHER),
        ("  NDUFB8 ", "NDUFB8", None, None, Role.COMPLEX_I),
    ],
)
def test_spellings_of_a_channel(name, target, metal, mass, role):
    channel = parse_channel(name, source="file name")
    assert (channel.target, channel.metal, channel.mass) == (target, metal, mass)
    assert role is None or channel.role == role
    assert channel.source == "file name"


@pytest.mark.parametrize("fluor", ["153Eu", "Eu153", "Eu153Di", " 153Eu "])
def test_the_isotope_may_come_apart_from_the_name(fluor):
    channel = parse_channel("SDHA", fluor)
    assert (channel.target, channel.metal, channel.mass, channel.label) == ("SDHA", "Eu", 153, "SDHA (153Eu)")


def test_a_metal_that_is_none_is_left_out():
    assert parse_channel("SDHA", "Alexa Fluor").label == "SDHA"


def test_repeated_names_are_numbered_so_that_a_name_means_one_channel():
    panel = Panel(tuple(Channel(name) for name in ("DNA", "SDHA", "DNA")))
    assert panel.targets == ["DNA 1", "SDHA", "DNA 2"]
    assert panel.match(["DNA 2", "DNA 1"]) == [2, 0]


def test_channels_are_matched_by_name_and_alias_never_by_place():
    panel = Panel(tuple(parse_channel(name) for name in ("Porin", "cox4i1", "GRIM19", "NDUFB8")))
    assert panel.match(["NDUFB8", "NDUFA13", "COX4", "VDAC1"]) == [3, 2, 1, 0]
    assert panel.index("ndufb8") == 3


def test_every_missing_channel_is_named_and_what_there_is():
    panel = Panel(tuple(parse_channel(name) for name in ("COX4", "Dystrophin")))
    with pytest.raises(
        MitoxaiError, match=r"^P03 has no channel SDHA, NDUFB8 \(it has COX4, Dystrophin\): use .+\.$"
    ):
        panel.match(["SDHA", "COX4", "NDUFB8"], what="P03")


def test_roles_are_found_in_order():
    panel = Panel(tuple(parse_channel(name) for name in ("TOM22", "SDHA", "VDAC1")))
    assert panel.with_role(Role.MITOCHONDRIAL_MASS) == [0, 2]
    assert panel.with_role(Role.MEMBRANE) == []
