"""Judging methods on the same patches of one network: what the checks are made of, and what they give."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_mitoxai.explain.plan import Wanted
from napari_mitoxai.trust.concentration import complexity, sparseness
from napari_mitoxai.trust.curves import area, deletion, mean_drop, road, shares
from napari_mitoxai.trust.imputation import FILLS, Fill, filled
from napari_mitoxai.trust.infidelity import drops, infidelity, max_sensitivity, random_squares
from napari_mitoxai.trust.network import Network
from napari_mitoxai.trust.randomisation import layers_in_order, likeness, randomised
from napari_mitoxai.trust.units import Values, places, planes

_ROAD_SHARES = np.arange(1, 10) / 10
_ROAD_NOISE = 0.01  # in scaled units, as in the paper's code
_RANDOM = "random"


@dataclass(frozen=True)
class Settings:
    """What is the same for every method that is compared.

    Attributes
    ----------
    values : {"signed", "magnitude"}
        What of a map is ranked, see `planes`.
    by_channel : bool
        Whether a place is removed from one channel at a time.
    region : int
        Side in pixels of the squares that are removed; of the smallest that is covered.
    steps : int
        Of deletion, insertion and pixel flipping.
    fill : str
        In place of what is removed by deletion and insertion.
    squares : int
        Covered for infidelity, in each patch.
    samples, radius
        Of `max_sensitivity`.
    seeds : int
        Untrained networks.
    stages : int
        In which layers are drawn anew, the last first; 1 for all at once.
    seed : int
        Of all chance: the same for every method.
    """

    values: Values = "signed"
    by_channel: bool = False
    region: int = 8
    steps: int = 16
    fill: Fill = "blur"
    squares: int = 50
    samples: int = 5
    radius: float = 0.1
    seeds: int = 3
    stages: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Curve:
    """How a number changes with how much was changed, patch by patch.

    Attributes
    ----------
    name : str
    x : ndarray (K,)
        Share removed, inserted or drawn anew, 0 to 1.
    y : ndarray (N, K)
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What a check says of a method.

    Attributes
    ----------
    scores : dict of ndarray (N,)
        By name, patch by patch; nan where a score is not defined.
    seeds : int
        Draws of chance it rests on in each patch; 0 for none.
    curves : list of Curve
    """

    scores: dict[str, NDArray[np.float64]]
    seeds: int = 0
    curves: list[Curve] = field(default_factory=list)


class Judge:
    """Patches of a section, the network that is asked about them, and the checks.

    Parameters
    ----------
    network : Network
    patches : ndarray (N, C, H, W)
        Scaled.
    untrained : callable
        Gives the same network before training, from a seed.
    settings : Settings
    """

    def __init__(
        self,
        network: Network,
        patches: NDArray[np.float32],
        untrained: Callable[[int], nn.Module],
        settings: Settings,
    ) -> None:
        self.network, self.patches, self.settings = network, patches, settings
        self._untrained = untrained
        self._maps: tuple[Wanted, NDArray[np.float32]] | None = None

    def judge(self, check: str, wanted: Wanted) -> Outcome:
        """Ask one check about one method.

        Parameters
        ----------
        check : str
            One of `napari_mitoxai.trust.checks.CHECKS`.
        wanted : Wanted
            The method and its parameters.

        Raises
        ------
        Unsuitable
            If the method has no meaning for this network.
        Cancelled
        """
        checks: dict[str, Callable[[Wanted], Outcome]] = {
            "deletion": self._deletion,
            "pixel_flipping": self._pixel_flipping,
            "road": self._road,
            "infidelity": self._infidelity,
            "sensitivity": self._sensitivity,
            "concentration": self._concentration,
            "randomisation": self._randomisation,
        }
        return checks[check](wanted)

    # --- what checks share ---------------------------------------------------------------------------------------

    def _explained(self, wanted: Wanted) -> NDArray[np.float32]:
        if self._maps is None or self._maps[0] != wanted:
            self._maps = wanted, self.network.explain(wanted, self.patches)
        return self._maps[1]

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, crc32(name.encode())])

    def _nothing(self, fill: Fill) -> NDArray[np.float32]:
        return filled(self.patches, fill, self._rng(fill))

    def _places(self, wanted: Wanted) -> NDArray[np.intp]:
        maps = self._explained(wanted)
        if self.settings.by_channel:
            ranked = maps if self.settings.values == "signed" else np.abs(maps)
            ranked = np.broadcast_to(ranked, self.patches.shape)
        else:
            ranked = planes(maps, self.settings.values)[:, None]
        return places(ranked, self.settings.region, self._rng("ties"))[0]

    @cached_property
    def _covered(self) -> NDArray[np.bool_]:
        shape = (self.patches.shape[2], self.patches.shape[3])
        return random_squares(
            len(self.patches), self.settings.squares, shape, self.settings.region, self._rng("squares")
        )

    @cached_property
    def _drops(self) -> NDArray[np.float64]:
        # zero is what relevance that adds up to the score is counted from
        return drops(self.network.scores, self.patches, self._covered, self._nothing("zero"))

    # --- checks --------------------------------------------------------------------------------------------------

    def _deletion(self, wanted: Wanted) -> Outcome:
        nothing, ranked, steps = self._nothing(self.settings.fill), self._places(wanted), self.settings.steps
        curves = {
            name: self.network.probability(
                deletion(self.network.logits, self.patches, ranked, nothing, steps, insert=insert)
            )
            for name, insert in (("deletion", False), ("insertion", True))
        }
        return Outcome(
            {name: area(curve) for name, curve in curves.items()},
            curves=[Curve(name, shares(steps), curve) for name, curve in curves.items()],
        )

    def _pixel_flipping(self, wanted: Wanted) -> Outcome:
        ranked, steps = self._places(wanted), self.settings.steps
        curves = {
            f"pixel_flipping_{fill}": deletion(
                self.network.scores, self.patches, ranked, self._nothing(fill), steps
            )
            for fill in FILLS
        }
        return Outcome(
            {name: mean_drop(curve) for name, curve in curves.items()},
            curves=[Curve(name, shares(steps), curve) for name, curve in curves.items()],
        )

    def _road(self, wanted: Wanted) -> Outcome:
        ranked = planes(self._explained(wanted), self.settings.values)[:, None]
        noise = _ROAD_NOISE * self._rng("road").normal(size=self.patches.shape)
        most, least = road(
            self.network.scores, self.patches, places(ranked, 1, self._rng("ties"))[0], _ROAD_SHARES, noise
        )
        return Outcome(
            {"road": ((least - most) / 2).mean(1)},
            curves=[Curve("road_most", _ROAD_SHARES, most), Curve("road_least", _ROAD_SHARES, least)],
        )

    def _infidelity(self, wanted: Wanted) -> Outcome:
        ranked = planes(self._explained(wanted), self.settings.values)
        return Outcome(
            {"infidelity": infidelity(ranked, self._covered, self._drops)}, seeds=self.settings.squares
        )

    def _sensitivity(self, wanted: Wanted) -> Outcome:
        values = max_sensitivity(
            lambda patches: self.network.explain(wanted, patches),
            self.patches,
            self.settings.radius,
            self.settings.samples,
            self._rng("sensitivity"),
        )
        return Outcome({"max_sensitivity": values}, seeds=self.settings.samples)

    def _concentration(self, wanted: Wanted) -> Outcome:
        magnitudes = planes(self._explained(wanted), "magnitude")
        return Outcome({"sparseness": sparseness(magnitudes), "complexity": complexity(magnitudes)})

    def _randomisation(self, wanted: Wanted) -> Outcome:
        before = planes(self._explained(wanted), "signed")
        model, device = self.network.model, next(self.network.model.parameters()).device
        first = torch.from_numpy(self.patches[:1]).to(device)
        layers = layers_in_order(model, first)
        ranks, structures, drawn = [], [], np.zeros(0)
        for number in range(self.settings.seeds):
            seed = self.settings.seed + number + 1
            fresh = self._untrained(seed)
            # a random map drawn again with the seed it had would be the same map: what is wanted of it is chance
            asked = (
                replace(wanted, parameters=wanted.parameters.model_copy(update={"seed": seed}))
                if wanted.method.name == _RANDOM
                else wanted
            )
            by_stage, drawn_by_stage = [], []
            for share, changed in randomised(model, fresh, layers, self.settings.stages):
                after = planes(self.network.with_model(changed).explain(asked, self.patches), "signed")
                by_stage.append(likeness(before, after))
                drawn_by_stage.append(share)
            ranks.append([rank for rank, _ in by_stage])
            structures.append([structure for _, structure in by_stage])
            drawn = np.array(drawn_by_stage)
        curves = {
            "randomisation_rank": _over_seeds(ranks),
            "randomisation_ssim": _over_seeds(structures),
        }
        return Outcome(
            {name: curve[:, -1] for name, curve in curves.items()},
            self.settings.seeds,
            [Curve(name, drawn, curve) for name, curve in curves.items()],
        )


def _over_seeds(values: list[list[NDArray[np.float64]]]) -> NDArray[np.float64]:
    """The mean over seeds of what is known (seeds, stages, N) → (N, stages)."""
    every = np.array(values)
    known = np.isfinite(every)
    counts = known.sum(0)
    sums = np.where(known, every, 0).sum(0)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).T)
