"""What a window shows, as a file: sections, maps and fibres with their looks, the view, the tab, and what is compared."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import read_json, write_json
from napari_mitoxai.fibres.relevance import POOLED
from napari_mitoxai.imc import split_address
from napari_mitoxai.napari.compare_cells import Contrast
from napari_mitoxai.napari.comparison import SIDE_BY_SIDE, Mode


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShownLayer(_Part):
    """A layer that the plugin made.

    Attributes
    ----------
    kind : str
        ``channel``, ``map`` or ``fibres``.
    section : str
        The address of its section.
    what : str
        The channel's target, or the map's method.
    source : str
        The store or the labels; empty for channels.
    channel : str
        Of a map that tells channels apart.
    visible, opacity
        As napari has them.
    limits : (float, float), optional
        Ends of the colour scale.
    """

    kind: Literal["channel", "map", "fibres"]
    section: str
    what: str
    source: str = ""
    channel: str = POOLED
    visible: bool = True
    opacity: float = Field(default=1.0, ge=0, le=1)
    limits: tuple[float, float] | None = None


class ComparedMap(_Part):
    """A cell of a comparison: a store, a method, and a channel."""

    store: str
    method: str
    channel: str = POOLED


class Compared(_Part):
    """A comparison: its cells, and how they are shown."""

    maps: list[ComparedMap] = Field(min_length=1)
    contrast: Contrast = Contrast.OWN
    score: str = ""
    outlined: bool = True
    mode: Mode = SIDE_BY_SIDE
    pair: tuple[int, int] = (0, 0)
    curtain: float = Field(default=0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _pair_is_there(self) -> Self:
        if not all(0 <= place < len(self.maps) for place in self.pair):
            raise ValueError(f"there are {len(self.maps)} maps, and no pair {self.pair} of them")
        return self


class Arrangement(_Part):
    """A window.

    Attributes
    ----------
    arrangement : 1
        The version of the format, by which the file is known.
    layers : list of ShownLayer
        From below.
    centre, zoom
        The view: um, y and x; screen pixels a um.
    tab : str
        The one in front.
    run, cohort : str
        In use; empty if there is none.
    compared : Compared, optional
        If maps are compared.
    """

    arrangement: Literal[1] = 1
    layers: list[ShownLayer] = []
    centre: tuple[float, float] = (0.0, 0.0)
    zoom: float = Field(default=1.0, gt=0)
    tab: str = ""
    run: str = ""
    cohort: str = ""
    compared: Compared | None = None


def save_arrangement(path: Path, arrangement: Arrangement, *, overwrite: bool = False) -> None:
    """Write an arrangement as JSON; what lies in the folder of the file or below is named from there, so that both can be moved.

    Raises
    ------
    MitoxaiError
        If the file exists and may not be replaced, or cannot be written.
    """
    folder = path.resolve().parent

    def from_there(name: str) -> str:
        own = Path(name)
        return own.relative_to(folder).as_posix() if name and own.is_relative_to(folder) else name

    write_json(path, _renamed(arrangement, from_there).model_dump(mode="json"), overwrite=overwrite)


def read_arrangement(path: Path) -> Arrangement:
    """Read an arrangement; its paths are whole again.

    Raises
    ------
    MitoxaiError
        If it is not there, or not an arrangement.
    """
    content = read_json(path)
    try:
        if not isinstance(content, dict) or "arrangement" not in content:
            raise ValueError("it does not say that it is one")
        read = Arrangement.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = " › ".join(str(part) for part in first["loc"])
        raise MitoxaiError(
            f"{path.name} is no arrangement that this version opens ({place}: {first['msg'].lower()}): save it anew."
        ) from error
    except ValueError as error:
        raise MitoxaiError(f"{path.name} is no arrangement of a window ({error}): choose one that was saved here.") from error  # fmt: skip
    folder = path.resolve().parent
    return _renamed(read, lambda name: os.path.normpath(folder / name) if name else "")


def without_missing(arrangement: Arrangement) -> tuple[Arrangement, list[str]]:
    """What of an arrangement is still there, and the files that are not."""
    missing: list[str] = []

    def there(*names: str) -> bool:
        gone = [name for name in names if name and not split_address(name)[0].exists()]
        missing.extend(name for name in gone if name not in missing)
        return not gone

    layers = [layer for layer in arrangement.layers if there(layer.section, layer.source)]
    compared = arrangement.compared
    if compared is not None:
        maps = [each for each in compared.maps if there(each.store)]
        whole = len(maps) == len(compared.maps)
        look = {} if whole else {"mode": SIDE_BY_SIDE, "pair": (0, min(1, len(maps) - 1))}
        compared = compared.model_copy(update={"maps": maps, **look}) if maps else None
    run = arrangement.run if there(arrangement.run) else ""
    cohort = arrangement.cohort if there(arrangement.cohort) else ""
    kept = {"layers": layers, "compared": compared, "run": run, "cohort": cohort}
    return arrangement.model_copy(update=kept), missing


def _renamed(arrangement: Arrangement, rename: Callable[[str], str]) -> Arrangement:
    layers = [
        layer.model_copy(update={"section": rename(layer.section), "source": rename(layer.source)})
        for layer in arrangement.layers
    ]
    compared = arrangement.compared
    if compared is not None:
        maps = [each.model_copy(update={"store": rename(each.store)}) for each in compared.maps]
        compared = compared.model_copy(update={"maps": maps})
    files = {"run": rename(arrangement.run), "cohort": rename(arrangement.cohort)}
    return arrangement.model_copy(update={"layers": layers, "compared": compared, **files})
