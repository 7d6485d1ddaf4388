"""What the program knows of an explanation method before it runs; needs no torch."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_mitoxai.common import MitoxaiError


class Unsuitable(MitoxaiError):  # noqa: N818 - says what the method is
    """A method has no meaning for this network or this question; another one may have."""


class MethodParameters(BaseModel):
    """The parameters of a method; every field has a default, a title, a description and bounds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Method:
    """An explanation method.

    Attributes
    ----------
    name : str
        As in files and on the command line: ``lrp_epsilon``.
    title : str
        For people: ``LRP epsilon``.
    description : str
        One paragraph: what the map answers, and what it cannot.
    source : str
        The paper it comes from.
    signed : bool
        Whether a map speaks for (positive) and against (negative) the class; else it is never negative.
    per_channel : bool
        Whether there is a map for each channel, (C, H, W); else one for all, (1, H, W).
    implementation : str
        ``package.module:function``; it is imported when the method first runs. The function takes a
        `napari_mitoxai.explain.question.Question` and a `parameters` instance and returns the map (N, C or 1, H, W).
    parameters : type of MethodParameters
        What can be chosen.
    passes : str
        ``one`` for a pass forward and back, which methods asked together share, or ``many``.
    presets : mapping
        Other settings with a name of their own: parameters by name, asked for as ``method@preset``.
    """

    name: str
    title: str
    description: str
    source: str
    signed: bool
    per_channel: bool
    implementation: str
    parameters: type[MethodParameters] = MethodParameters
    passes: Literal["one", "many"] = "one"
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def is_signed(self, parameters: MethodParameters) -> bool:
        """Whether a map with these parameters is signed: what is squared is not."""
        return self.signed and not getattr(parameters, "squared", False)

    def is_per_channel(self, parameters: MethodParameters) -> bool:
        """Whether a map with these parameters tells channels apart; of some methods it is a parameter."""
        return bool(getattr(parameters, "per_channel", self.per_channel))

    def defaults(self) -> dict[str, Any]:
        """The parameters and their values when nothing else is said."""
        return self.parameters().model_dump()

    def configure(self, **values: Any) -> MethodParameters:
        """Check parameters.

        Raises
        ------
        MitoxaiError
            If one of them does not exist for this method, or has an impossible value.
        """
        known = self.parameters.model_fields
        unknown = [name for name in values if name not in known]
        if unknown:
            way_out = f"choose from {', '.join(known)}" if known else "it has none"
            raise MitoxaiError(f"{self.name} has no parameter {unknown[0]!r}: {way_out}.")
        try:
            return self.parameters(**values)
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0]) if first["loc"] else "parameters"
            reason = first["msg"][0].lower() + first["msg"][1:]
            raise MitoxaiError(f"{field} of {self.name} cannot be {first['input']!r}: {reason}.") from error

    def function(self) -> Callable[[Any, Any], Any]:
        """The implementation; this imports torch."""
        module, _, name = self.implementation.partition(":")
        function: Callable[[Any, Any], Any] = getattr(importlib.import_module(module), name)
        return function
