"""What a method reads from the forward pass that the methods of a request share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from napari_mitoxai.explain.steps import GRADIENT, Rules

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Needs:
    """What is read from one forward pass.

    Attributes
    ----------
    rules : tuple of Rules
        Those that signals from the class scores to the inputs follow.
    features : bool
        Whether the last feature map is wanted, and the gradient there.
    layers : tuple of str
        The modules whose output is wanted, and the gradient there.
    """

    rules: tuple[Rules, ...] = ()
    features: bool = False
    layers: tuple[str, ...] = ()

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            tuple(dict.fromkeys((*self.rules, *other.rules))),
            self.features or other.features,
            tuple(dict.fromkeys((*self.layers, *other.layers))),
        )

    def all_rules(self) -> tuple[Rules, ...]:
        """The rules, with the gradient that feature maps want beside them."""
        return (
            (self | Needs((GRADIENT,))).rules if self.rules and (self.features or self.layers) else self.rules
        )

    @property
    def one_map_only(self) -> bool:
        """Whether all that is wanted is the gradient at a single feature map, before which nothing has to be kept."""
        return not self.rules and self.features + len(self.layers) == 1


def reads(needs: Callable[[Any], Needs]) -> Callable[[F], F]:
    """Say what a method reads, given its parameters, so that one forward pass can serve all methods of a request."""

    def mark(function: F) -> F:
        function.needs = needs  # type: ignore[attr-defined]
        return function

    return mark


def needs_of(function: Callable[..., Any], parameters: Any) -> Needs | None:
    """What a method has said by `reads`; None if nothing."""
    needs: Callable[[Any], Needs] | None = getattr(function, "needs", None)
    return None if needs is None else needs(parameters)
