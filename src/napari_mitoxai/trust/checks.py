"""The checks by name, and what a reader should know of their scores; needs no torch."""

from dataclasses import dataclass

from napari_mitoxai.trust.recorded import Better


@dataclass(frozen=True)
class ScoreKind:
    """A number that judges a map.

    Attributes
    ----------
    title : str
        For people.
    better : {"higher", "lower"}
    meaning : str
        One sentence.
    """

    title: str
    better: Better
    meaning: str


@dataclass(frozen=True)
class Check:
    """Scores that are computed together.

    Attributes
    ----------
    title : str
        For people.
    settings : tuple of str
        The fields of `Settings` that change them.
    scores : tuple of str
        Their names.
    """

    title: str
    settings: tuple[str, ...]
    scores: tuple[str, ...]


_REMOVED = "when what the map ranks highest is replaced first"

SCORES: dict[str, ScoreKind] = {
    "deletion": ScoreKind(
        "Deletion", "lower", f"Area under the probability of the class {_REMOVED}: it should fall at once."
    ),
    "insertion": ScoreKind(
        "Insertion", "higher", "Area under the probability of the class when what the map ranks highest comes back first."
    ),
    "pixel_flipping_zero": ScoreKind("Pixel flipping, zero", "higher", f"Mean drop of the score {_REMOVED} by scaled 0."),
    "pixel_flipping_mean": ScoreKind(
        "Pixel flipping, mean", "higher", f"Mean drop of the score {_REMOVED} by the channel's mean."
    ),
    "pixel_flipping_blur": ScoreKind("Pixel flipping, blur", "higher", f"Mean drop of the score {_REMOVED} by a blur."),
    "pixel_flipping_noise": ScoreKind("Pixel flipping, noise", "higher", f"Mean drop of the score {_REMOVED} by noise."),
    "road": ScoreKind(
        "ROAD", "higher",
        "Half the difference of the score between removing the least and the most relevant pixels, imputed from their neighbours.",
    ),
    "infidelity": ScoreKind(
        "Infidelity", "lower", "Share of the drops of the score under covered squares that the map's sums do not explain."
    ),
    "max_sensitivity": ScoreKind(
        "Max-sensitivity", "lower", "Largest relative change of the map when the patch changes a little."
    ),
    "sparseness": ScoreKind("Sparseness", "higher", "Gini index of the map: how few pixels hold most of it."),
    "complexity": ScoreKind("Complexity", "lower", "Entropy of the map: over how many pixels it is spread."),
    "randomisation_rank": ScoreKind(
        "Random weights, rank", "lower", "Magnitude of the rank correlation of the map with that of an untrained network."
    ),
    "randomisation_ssim": ScoreKind(
        "Random weights, SSIM", "lower", "Structural similarity of the map and that of an untrained network."
    ),
}  # fmt: skip

_ORDER = ("values", "by_channel", "region", "steps", "seed")

CHECKS: dict[str, Check] = {
    "deletion": Check("Deletion and insertion", (*_ORDER, "fill"), ("deletion", "insertion")),
    "pixel_flipping": Check(
        "Pixel flipping", _ORDER, tuple(name for name in SCORES if name.startswith("pixel_flipping"))
    ),
    "road": Check("ROAD", ("values", "seed"), ("road",)),
    "infidelity": Check("Infidelity", ("values", "region", "squares", "seed"), ("infidelity",)),
    "sensitivity": Check("Max-sensitivity", ("samples", "radius", "seed"), ("max_sensitivity",)),
    "concentration": Check("Sparseness and complexity", (), ("sparseness", "complexity")),
    "randomisation": Check(
        "Random weights", ("seeds", "stages", "seed"), ("randomisation_rank", "randomisation_ssim")
    ),
}
