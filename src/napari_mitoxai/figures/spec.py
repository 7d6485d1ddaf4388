"""The specification of a figure: what its panels show, and how it looks; the form, the YAML file and the sidecar are this."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict

# folded away in forms
ADVANCED: JsonDict = {"advanced": True}

Box = tuple[float, float, float, float]
Limits = tuple[float, float]


class FigureLook(BaseModel):
    """How a figure looks: size, resolution, text, scale rules, and the arrangement that it starts from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["overlays", "maps", "red green blue"] = Field(
        default="overlays",
        title="Arrangement",
        description="Panels where none are listed: the section and each map over it, or each map alone, or each map in blue on the membrane in red and the mitochondrial mass in green.",
    )
    methods: list[str] = Field(
        default=[],
        title="Methods",
        description="Maps to show; all by default.",
        json_schema_extra={"option": "--method"},
    )
    colours: Literal["colour-blind safe", "jet"] = Field(
        default="colour-blind safe",
        title="Colours of maps",
        description="Blue against and orange for the class, told apart by every eye; or jet, half covering, as papers show Grad-CAM.",
    )
    width_mm: float = Field(
        default=180.0,
        ge=40,
        le=600,
        title="Width",
        description="Width of the figure in mm; 180 is a full page, 85 a column.",
    )
    max_height_mm: float = Field(
        default=230.0,
        ge=40,
        le=900,
        title="Greatest height",
        description="Panels are laid out so that the figure stays below this height in mm.",
        json_schema_extra=ADVANCED,
    )
    dpi: int = Field(
        default=300,
        ge=72,
        le=1200,
        title="Resolution",
        description="Dots per inch; most journals ask for 300.",
        json_schema_extra=ADVANCED,
    )
    font: str = Field(
        default="DejaVu Sans",
        title="Font",
        description="A font of this machine; DejaVu Sans comes along, and gives the same pixels everywhere.",
        json_schema_extra=ADVANCED,
    )
    font_pt: float = Field(
        default=7.0,
        ge=4,
        le=16,
        title="Font size",
        description="Size of the text in points.",
        json_schema_extra=ADVANCED,
    )
    letters: Literal["a", "A", "none"] = Field(
        default="a", title="Letters", description="What panels are counted by.", json_schema_extra=ADVANCED
    )
    background: str = Field(
        default="white",
        title="Background",
        description="Colour of the page: a name or #rrggbb.",
        json_schema_extra=ADVANCED,
    )
    percentile: float = Field(
        default=99.5,
        gt=50,
        le=100,
        title="Limits",
        description="Colours reach their end at this percentile: of a map's absolute values, of a channel's counts.",
        json_schema_extra=ADVANCED,
    )
    arcsinh: bool = Field(
        default=False,
        title="Arcsinh",
        description="Colours of channels follow the arcsinh of counts, which shows faint ones.",
        json_schema_extra=ADVANCED,
    )
    shared_limits: bool = Field(
        default=True,
        title="Same limits in all rows",
        description="A channel, and a method, has the same colours in all sections of the figure.",
        json_schema_extra=ADVANCED,
    )
    scale_bar_um: float | None = Field(
        default=None,
        gt=0,
        title="Scale bar",
        description="Length in um; chosen to fit where it is not given.",
        json_schema_extra=ADVANCED,
    )
    outlines: bool = Field(
        default=True, title="Fibre outlines", description="Draw the outlines of the fibres."
    )
    colour_bars: bool = Field(
        default=True,
        title="Colour bars",
        description="A bar below each map.",
        json_schema_extra=ADVANCED,
    )
    legend: bool = Field(
        default=True,
        title="Channel legend",
        description="The channels' names below the section.",
        json_schema_extra=ADVANCED,
    )
    captions: bool = Field(
        default=True,
        title="Captions",
        description="What the model says of a section above the panels, and how the colours are made below them.",
        json_schema_extra=ADVANCED,
    )
    scores: list[str] = Field(
        default=[],
        title="Scores",
        description="Trust scores to write below each map, by their names; where they were computed.",
        json_schema_extra={"option": "--score", **ADVANCED},
    )
    title: str = Field(
        default="", title="Title", description="A line above the figure; none where it is empty."
    )

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, value: str) -> str:
        # matplotlib is imported only for what is not the default
        if value not in {"white", "black"}:
            from matplotlib.colors import is_color_like

            if not is_color_like(value):
                raise ValueError("is no colour: give a name such as white, or #rrggbb")
        return value


class Panel(BaseModel):
    """What one column shows of every row, or, below the rows, a plot of its own.

    In a file, a panel that needs no more than what it shows may be that word: ``composite``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    show: Literal["composite", "overlay", "map", "merge", "fibres", "plot"] = Field(
        title="Show",
        description="The section's channels, a map over it, a map alone, a map in blue on red and green channels, the fibres, or a plot.",
    )
    method: str = Field(default="", title="Method", description="Of a map.")
    channel: str = Field(
        default="", title="Relevance of", description="A channel of the map; their sum by default."
    )
    channels: list[str] = Field(
        default=[],
        title="Channels",
        description="Of a composite; by default membrane, mitochondrial mass and complex I, or what there is.",
    )
    colour_by: str = Field(
        default="",
        title="Colour fibres by",
        description="A column of the row's fibre table: a status, or a number.",
    )
    plot: Literal["", "mito", "compartments", "agreement", "training"] = Field(
        default="",
        title="Plot",
        description="The 2Dmito plot, the enrichment of compartments, the agreement of methods, or the training curve.",
    )
    table: Path | None = Field(
        default=None,
        title="Table",
        description="What a plot is drawn from: calls, NAME_compartments.csv, an agreement, or a run.",
    )
    protein: str = Field(default="", title="Protein", description="Of a 2Dmito plot.")
    of: str = Field(
        default="",
        title="Of",
        description="The subject or section of a plot; that of the row by default.",
    )
    title: str = Field(default="", title="Title", description="Above the panel; what it shows by default.")

    @model_validator(mode="before")
    @classmethod
    def _a_word(cls, value: Any) -> Any:
        return {"show": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_whole(self) -> "Panel":
        if self.show in {"overlay", "map", "merge"} and not self.method:
            raise ValueError(f"a panel that shows {self.show} needs a method")
        if self.show == "plot" and not (self.plot and self.table):
            raise ValueError("a plot needs its kind (plot) and what it is drawn from (table)")
        return self


class Row(BaseModel):
    """A section, and what belongs to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    section: Path = Field(title="Section", description="A file or a folder.")
    maps: list[Path] = Field(default=[], title="Maps", description="Stores that explaining wrote.")
    fibres: Path | None = Field(default=None, title="Fibres", description="A label image.")
    table: Path | None = Field(
        default=None,
        title="Fibre table",
        description="What colours fibres: a CSV or Parquet with a row a fibre.",
    )
    title: str = Field(default="", title="Title", description="The section's name by default.")
    crop_um: Box | None = Field(
        default=None,
        title="Crop (um)",
        description="Left, top, right, bottom; the centre of the first pixel is 0.",
    )
    crop_px: Box | None = Field(
        default=None, title="Crop (px)", description="Left, top, right, bottom in pixels of the section."
    )
    limits: dict[str, Limits] = Field(
        default={},
        title="Limits",
        description="The values where colours begin and end, by channel or method; by default from percentiles.",
    )

    @field_validator("maps", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _crop_is_a_box(self) -> "Row":
        if self.crop_um and self.crop_px:
            raise ValueError("a crop is given in um or in px: leave one out")
        for box in (self.crop_um, self.crop_px):
            if box and not (box[2] > box[0] and box[3] > box[1]):
                raise ValueError("a crop is left, top, right, bottom: right and bottom are the larger ones")
        return self


class FigureSpec(FigureLook):
    """A whole figure: rows of sections, columns of panels, plots below them."""

    rows: list[Row] = Field(min_length=1, max_length=20, title="Rows", description="The sections, one a row.")
    panels: list[Panel] = Field(
        default=[], title="Columns", description="What is shown of each row; by default the arrangement's."
    )
    below: list[Panel] = Field(default=[], title="Below", description="Plots below all rows.")
    channel_colours: dict[str, str] = Field(
        default={},
        title="Colours of channels",
        description="#rrggbb by channel; by default that of the channel's role.",
    )

    @field_validator("below")
    @classmethod
    def _are_plots(cls, value: list[Panel]) -> list[Panel]:
        if any(panel.show != "plot" for panel in value):
            raise ValueError("below the rows stand plots only")
        return value

    @field_validator("channel_colours")
    @classmethod
    def _are_colours(cls, value: dict[str, str]) -> dict[str, str]:
        for colour in value.values():
            if not (
                len(colour) == 7 and colour[0] == "#" and set(colour[1:]) <= set("0123456789abcdefABCDEF")
            ):
                raise ValueError(f"{colour} is no colour as #rrggbb")
        return value


def preset_panels(preset: str, methods: list[str]) -> list[Panel]:
    """The panels of an arrangement.

    Parameters
    ----------
    preset : str
        As in `FigureLook`.
    methods : list of str
        Labels of maps.
    """
    show = {"overlays": "overlay", "maps": "map", "red green blue": "merge"}[preset]
    first = [Panel(show="composite")]
    return [*first, *(Panel.model_validate({"show": show, "method": method}) for method in methods)]
