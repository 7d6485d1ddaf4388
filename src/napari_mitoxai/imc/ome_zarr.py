"""OME-Zarr images, versions 0.1 to 0.5, with their pyramids."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import zarr
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc.acquisitions import Acquisition, choose, refuse_choice
from napari_mitoxai.imc.limits import MAX_XML, check_shape, one_line
from napari_mitoxai.imc.names import Names, PanelTable, resolve
from napari_mitoxai.imc.ome_xml import micrometres
from napari_mitoxai.imc.panel import Panel, Role
from napari_mitoxai.imc.section import Section

_METADATA = ("zarr.json", ".zattrs")
_ALL_METADATA = (*_METADATA, ".zarray", ".zgroup", ".zmetadata")
_MAX_IMAGES = 1000
_MAX_LEVELS = 32
_OLD_AXES = ("t", "c", "z", "y", "x")  # of versions that do not name them
_AXIS_WORDS = {"t": "time points", "z": "depths"}


class _Inside(LocalStore):
    """A folder of which nothing outside is read, whatever links lie in it, and no metadata of absurd size."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        path = (self.root / key).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise MitoxaiError(f"{key} leads out of {self.root.name}")
        if path.name in _ALL_METADATA and path.is_file() and path.stat().st_size > MAX_XML:
            raise MitoxaiError(f"{key} is too large to be metadata")
        return await super().get(key, prototype, byte_range)


def is_ome_zarr(folder: Path) -> bool:
    """Whether a folder is an OME-Zarr image, or a collection of them."""
    attributes = _attributes(folder)
    return "multiscales" in attributes or "bioformats2raw.layout" in attributes


def _attributes(folder: Path) -> dict[str, Any]:
    """The OME attributes of a group, of either version of Zarr; empty where there are none."""
    for name in _METADATA:
        document = folder / name
        try:
            if not document.is_file() or document.stat().st_size > MAX_XML:
                continue
            content = json.loads(document.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        found = (
            content.get("attributes", {}) if name == "zarr.json" and isinstance(content, dict) else content
        )
        if isinstance(found, dict):
            ome = found.get("ome", found)
            return dict(ome) if isinstance(ome, dict) else {}
    return {}


def read_ome_zarr(
    path: Path, acquisition: str | None = None, panel: PanelTable | Panel | None = None
) -> Section:
    """Open an OME-Zarr image lazily, all its levels.

    Parameters
    ----------
    path : Path
        The folder.
    acquisition : str, optional
        Which image of a collection, by its folder or name; the first by default.
    panel : PanelTable or Panel, optional
        The user's channel names, which go before those in the store.

    Returns
    -------
    Section
        Nothing but metadata has been read.

    Raises
    ------
    MitoxaiError
        If it is another kind of store, damaged, has axes beside c, y and x, or names places outside itself.
    """
    attributes = _attributes(path)
    if "plate" in attributes:
        raise MitoxaiError(f"{path.name} is a plate of many wells: open one of the images in it.")
    images = [""] if "multiscales" in attributes else _collected(path)
    acquisitions = tuple(
        Acquisition(image, str((_attributes(path / image).get("multiscales") or [{}])[0].get("name") or ""))
        for image in images
        if image
    )
    if not acquisitions:
        refuse_choice(path, acquisition)
    chosen = choose(path, acquisitions, acquisition) if acquisitions else Acquisition("")
    try:
        return _open(path, chosen, acquisitions if len(acquisitions) > 1 else (), panel)
    except MitoxaiError as error:
        if path.name in str(error) or "panel" in str(error):
            raise
        raise MitoxaiError(f"{path.name} is not opened: {error}.") from error
    except Exception as error:  # what a library raises on damaged metadata depends on the damage
        raise MitoxaiError(
            f"{path.name} is not a readable OME-Zarr image ({one_line(error)}): copy it again, or export it again."
        ) from error


def _collected(path: Path) -> list[str]:
    """The images of a collection as Bio-Formats writes it: folders 0, 1, 2 ..."""
    images = []
    for index in range(_MAX_IMAGES):
        if "multiscales" not in _attributes(path / str(index)):
            break
        images.append(str(index))
    if not images:
        raise MitoxaiError(
            f"{path.name} has no image of the OME-Zarr format in it: give the folder of the image."
        )
    return images


def _open(
    path: Path, chosen: Acquisition, acquisitions: tuple[Acquisition, ...], panel: PanelTable | Panel | None
) -> Section:
    folder = path / chosen.id
    attributes = _attributes(folder)
    image = attributes["multiscales"][0]
    store = _Inside(folder, read_only=True)
    if len(image["datasets"]) > _MAX_LEVELS:
        raise MitoxaiError(f"it lists {len(image['datasets'])} levels, more than any pyramid has")
    arrays = [_array(store, folder, dataset["path"]) for dataset in image["datasets"]]
    first = arrays[0]
    axes = _axes(image, first.ndim)
    for array in arrays:
        check_shape(path.name, array.shape[-3:], array.chunks[-3:], array.dtype.itemsize)
    levels = [_channels_first(path, da.from_zarr(array, inline_array=True), axes) for array in arrays]
    channel_axis = next(
        (axis for axis, size in zip(axes, first.shape, strict=True) if axis not in "yx" and size > 1), "c"
    )
    notes = []
    if acquisitions:
        notes.append(
            f"The store has {len(acquisitions)} images ({', '.join(each.description or each.id for each in acquisitions)}); "
            f"this is {chosen.description or chosen.id}."
        )
    if channel_axis != "c":
        notes.append(
            f"The store declares its planes as {_AXIS_WORDS.get(channel_axis, channel_axis)}; they are read as channels."
        )
    told = (attributes.get("omero") or {}).get("channels") or []
    names = Names(
        "OME name",
        [str(channel.get("label") or "") for channel in told],
        [str(channel.get("isotope") or "") or None for channel in told],
    )
    channels, about_names = resolve(levels[0].shape[0], [names] if told else [], panel, what=path.name)
    if len(told) == len(channels) and panel is None:
        channels = _with_roles(channels, told)
    pixel_size = _pixel_size(image, axes)
    if pixel_size is None:
        about_names.append(
            "The store has no pixel size; 1 µm is assumed, as is usual for imaging mass cytometry."
        )
    version = image.get("version") or attributes.get("version") or "0.4"
    return Section(
        " ".join(
            filter(
                None,
                (path.name.removesuffix(".zarr").removesuffix(".ome"), chosen.id if acquisitions else ""),
            )
        ),
        levels[0],
        channels,
        pixel_size or 1.0,
        path.resolve(),
        notes=(*notes, *about_names),
        coarser=tuple(levels[1:]),
        format="OME-Zarr",
        dialect=str(version),
        acquisition=chosen.id if acquisitions else None,
        acquisitions=acquisitions,
    )


def _array(store: _Inside, folder: Path, name: object) -> Any:
    """An array of the store; `name` comes from a file and may say anything."""
    if not isinstance(name, str) or not name or ".." in name.replace("\\", "/").split("/") or ":" in name:
        raise MitoxaiError(f"it names the place {str(name)[:80]!r}, which is not inside it")
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise MitoxaiError(f"{name[:80]} leads out of it")
    array = zarr.open_array(store, path=name, mode="r")
    if array.dtype.kind not in "uif":
        raise MitoxaiError(f"it holds values of the kind {array.dtype}, not counts")
    return array


def _axes(image: Mapping[str, Any], ndim: int) -> list[str]:
    told = image.get("axes")
    if not told:
        axes = list(_OLD_AXES) if ndim == 5 else []
    else:
        axes = [str(axis["name"] if isinstance(axis, Mapping) else axis).lower() for axis in told]
    if len(axes) != ndim or len(set(axes)) != ndim or not {"y", "x"} <= set(axes):
        raise MitoxaiError(f"it has the axes {', '.join(axes) or 'unknown'} for {ndim} dimensions")
    return axes


def _channels_first(path: Path, data: da.Array, axes: Sequence[str]) -> da.Array:
    """(C, Y, X) of an array with any axes, as long as but one beside y and x has more than one step."""
    long = [axis for axis, size in zip(axes, data.shape, strict=True) if axis not in "yx" and size > 1]
    if len(long) > 1:
        raise MitoxaiError(
            f"{path.name} has the axes {', '.join(axes)} with shape {data.shape}: give a stack of channels, (C, Y, X), of one section."
        )
    planes = long[0] if long else "c" if "c" in axes else None
    index = tuple(slice(None) if axis in ("y", "x", planes) else 0 for axis in axes)
    kept = [axis for axis in axes if axis in ("y", "x", planes)]
    data = data[index] if any(part == 0 for part in index) else data
    if planes is None:
        data, kept = data[None], ["c", *kept]
        planes = "c"
    order = [kept.index(axis) for axis in (planes, "y", "x")]
    return data if order == [0, 1, 2] else data.transpose(order)


def _pixel_size(image: Mapping[str, Any], axes: Sequence[str]) -> float | None:
    axis = axes.index("x")
    told = image.get("axes") or []
    unit = told[axis].get("unit") if len(told) > axis and isinstance(told[axis], Mapping) else None
    size = None
    for transformations in (
        image["datasets"][0].get("coordinateTransformations") or [],
        image.get("coordinateTransformations") or [],
    ):
        for transformation in transformations:
            scale = transformation.get("scale")
            if transformation.get("type") == "scale" and isinstance(scale, list) and len(scale) == len(axes):
                size = (size or 1.0) * float(scale[axis])
    return micrometres(size, str(unit)) if size is not None and unit else None


def _with_roles(panel: Panel, told: Sequence[Mapping[str, Any]]) -> Panel:
    """The panel with the roles that a store written here keeps."""
    known = {role.value: role for role in Role}
    return Panel(
        tuple(
            replace(channel, role=known.get(str(entry.get("role")), channel.role))
            for channel, entry in zip(panel, told, strict=True)
        )
    )
