"""Small files of the kinds that laboratories have, made as their writers make them."""

import io
import struct

import numpy as np
import tifffile
from PIL import Image

XTIFF = (
    "<?xml version='1.0' encoding='utf-8'?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\">"
    '<Image ID="Image:0" Name="a.ome.tiff"><Pixels ID="Pixels:0" Type="{kind}" SizeX="{x}" SizeY="{y}" SizeC="{c}" SizeZ="1" '
    'SizeT="1" DimensionOrder="XYCZT" Interleaved="true" BigEndian="false"{size}>{channels}<TiffData /></Pixels></Image></OME>'
)


def ome_xml(shape, names, metals=None, *, kind="float", size=""):
    metals = metals or [None] * len(names)
    channels = "".join(
        f'<Channel ID="Channel:0:{i}" SamplesPerPixel="1" Name="{name}"'
        + (f' Fluor="{metal}"' if metal else "")
        + " />"
        for i, (name, metal) in enumerate(zip(names, metals, strict=True))
    )
    c, y, x = shape
    return XTIFF.format(kind=kind, x=x, y=y, c=c, channels=channels, size=size)


def xtiff(path, counts, names, metals=None, *, broken=False):
    """As xtiff and imctools write; `broken` as xtiff writes with a tifffile of 2024 or newer."""
    pixels = counts[None, None, ..., None] if broken else counts[None, None]
    tifffile.imwrite(
        path, pixels, description=ome_xml(counts.shape, names, metals).encode(), metadata=None,
        photometric="minisblack", software="xtiff",
    )  # fmt: skip
    return path


def mcd_viewer(path, counts, names, *, ome=False):
    """As MCD Viewer exports: names as page names; the 32-bit export declares its channels as time."""
    with tifffile.TiffWriter(path, ome=False) as file:
        for index, (plane, name) in enumerate(zip(counts, names, strict=True)):
            description = None
            if ome and index == 0:
                xml = ome_xml((1, *counts.shape[1:]), ["x"]).replace('Name="x"', "")
                description = xml.replace('SizeT="1"', f'SizeT="{len(counts)}"').encode()
            file.write(
                plane, photometric="minisblack", metadata=None, contiguous=False, description=description,
                extratags=[(285, "s", 0, name, True)],
            )  # fmt: skip
    return path


def imc_text(path, counts, headers):
    """As the instrument writes: a line a pixel, row by row."""
    _, height, width = counts.shape
    lines = ["\t".join(["Start_push", "End_push", "Pushes_duration", "X", "Y", "Z", *headers])]
    lines += [
        "\t".join(
            [
                "1",
                "2",
                "3",
                str(x),
                str(y),
                str(y * width + x),
                *(f"{value:.3f}" for value in counts[:, y, x]),
            ]
        )
        for y in range(height)
        for x in range(width)
    ]
    path.write_text("\r\n".join(lines) + "\r\n")
    return path


def acquisition_xml(number, name, start, end, height, width, channels, **changes):
    values = {
        "ID": number, "Description": name, "AblationDistanceBetweenShotsX": "2", "AcquisitionROIID": number,
        "DataStartOffset": start, "DataEndOffset": end, "ValueBytes": 4, "MaxX": width, "MaxY": height, **changes,
    }  # fmt: skip
    text = "".join(f"<{key}>{value}</{key}>" for key, value in values.items() if value is not None)
    text = f"<Acquisition>{text}</Acquisition>"
    for order, (metal, label) in enumerate([("X", "X"), ("Y", "Y"), ("Z", "Z"), *channels]):
        text += (
            f"<AcquisitionChannel><ID>{order}</ID><ChannelName>{metal}</ChannelName><OrderNumber>{order}</OrderNumber>"
            f"<AcquisitionID>{number}</AcquisitionID><ChannelLabel>{label}</ChannelLabel></AcquisitionChannel>"
        )
    return text


def records(counts, order=None):
    """An acquisition's pixels as the .mcd has them."""
    channels, height, width = counts.shape
    y, x = np.mgrid[:height, :width]
    rows = np.stack([x, y, 0 * x, *counts], -1).reshape(-1, channels + 3).astype("<f4")
    return (rows if order is None else rows[order]).tobytes()


def mcd(path, acquisitions, channels, *, more="", picture=None, changes=()):
    """An .mcd with these acquisitions; `changes` by acquisition replaces what the schema says of it."""
    content = b"\0" * 64
    xml = ""
    if picture is not None:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "png")
        start = len(content)
        content += b"\0" * 161 + buffer.getvalue() + b"\0"
        corners = "".join(
            f"<SlideX{i}PosUm>{i}</SlideX{i}PosUm><SlideY{i}PosUm>0</SlideY{i}PosUm>" for i in range(1, 5)
        )
        xml += (
            f"<Panorama><ID>1</ID><Description>Overview</Description><Type>Instrument</Type>{corners}"
            f"<ImageStartOffset>{start}</ImageStartOffset><ImageEndOffset>{len(content)}</ImageEndOffset></Panorama>"
        )
    for number, counts in enumerate(acquisitions, start=1):
        pixels = counts if isinstance(counts, bytes) else records(counts)
        height, width = (1, 1) if isinstance(counts, bytes) else counts.shape[1:]
        start, content = len(content), content + pixels
        change = dict(changes).get(number, {})
        xml += acquisition_xml(
            number, f"ROI_{number:03d}", start, len(content), height, width, channels, **change
        )
    xml = f'<MCDSchema xmlns="http://www.fluidigm.com/IMC/MCDSchema_V2_0.xsd">{more}{xml}</MCDSchema>'
    path.write_bytes(content + xml.encode("utf-16-le") + struct.pack("<q", 0))
    return path
