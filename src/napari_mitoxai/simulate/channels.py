"""The ten channels of simulated sections."""

from napari_mitoxai.imc import Panel, parse_channel

MEMBRANE = "Dystrophin"

# Mean ions a pixel inside a fibre (dystrophin: on the membrane), near those of published sections of muscle
# (Warren et al. 2020, Sci Rep 10:15336); in the order of mass, as the instrument writes them.
TYPICAL = {
    ("SDHA", "153Eu"): 7.0,
    ("TOM22", "158Gd"): 0.8,
    ("NDUFB8", "160Gd"): 2.8,
    ("OSCP", "161Dy"): 5.0,
    ("GRIM19", "164Dy"): 2.8,
    ("VDAC1", "166Er"): 1.7,
    ("COX4", "168Er"): 8.0,
    ("MTCO1", "172Yb"): 1.7,
    ("UqCRC2", "174Yb"): 4.5,
    (MEMBRANE, "176Yb"): 7.0,
}

PANEL = Panel(tuple(parse_channel(target, metal, source="simulated") for target, metal in TYPICAL))
