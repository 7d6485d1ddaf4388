"""Judging methods on a section, one after the other: what is judged, on which patches, and what is known from before."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.tasks.explain import with_settings
from napari_mitoxai.tasks.inside import as_seen
from napari_mitoxai.trust.checks import CHECKS
from napari_mitoxai.trust.recorded import BASELINES

if TYPE_CHECKING:
    from napari_mitoxai.explain import MapStore
    from napari_mitoxai.explain.plan import Score, Wanted
    from napari_mitoxai.imc import Section
    from napari_mitoxai.models import Checkpoint
    from napari_mitoxai.tasks.trust import TrustParameters
    from napari_mitoxai.trust.judging import Judge, Outcome, Settings

_MIN_TISSUE = 0.5  # of a patch: what is judged is tissue


def maps_of(parameters: "TrustParameters", checkpoint: "Checkpoint", section: "Section") -> "MapStore | None":
    """The maps to judge, once it is sure that they are of this run and section."""
    if parameters.maps is None:
        return None
    from napari_mitoxai.explain import open_maps

    store = open_maps(parameters.maps)
    name = parameters.maps.name
    if store.info["checkpoint"]["weights_sha256"] != checkpoint.weights_sha256:
        raise MitoxaiError(
            f"{name} is of another model than {parameters.run.name}: give the run that made it."
        )
    if (store.info["section"]["name"], store.info["section"]["shape"]) != (section.name, list(section.shape)):
        raise MitoxaiError(
            f"{name} is of the section {store.info['section']['name']}, not of {section.name}: give the section it explains."
        )
    if store.info.get("approach") == "seamless":
        raise MitoxaiError(
            f"{name} was made in the seamless mode, and the checks ask patch by patch, which gives other maps: "
            "explain patch by patch first."
        )
    return store


def methods_of(parameters: "TrustParameters", store: "MapStore | None") -> "list[Wanted]":
    """The methods to judge, the baselines first, each once."""
    from napari_mitoxai.explain import Request

    methods = with_settings(parameters.methods, parameters.settings)
    if store is not None:
        if parameters.settings:
            raise MitoxaiError(
                f"{store.path.name} knows the parameters of its methods: leave {parameters.settings[0]} out, or judge without the maps."
            )
        for label, entry in store.info["methods"].items():
            if not parameters.methods or label in parameters.methods:
                methods[label] = dict(entry["parameters"])
    if not methods:
        raise MitoxaiError("No method was chosen: name at least one, as --method grad_cam, or give --maps.")
    return Request({**{name: {} for name in BASELINES}, **methods}).wanted()


def judge_of(
    parameters: "TrustParameters",
    checkpoint: "Checkpoint",
    section: "Section",
    store: "MapStore | None",
    cancel: CancelToken,
) -> "tuple[Judge, str]":
    """The patches to judge on, with the network and the score that is asked for; and that score, for people."""
    from napari_mitoxai.cohort import patch_corners, read_patches, tissue_mask
    from napari_mitoxai.explain.filling import prepared
    from napari_mitoxai.models import pick_device
    from napari_mitoxai.trust.judging import Judge
    from napari_mitoxai.trust.network import Network

    planes, geometry = checkpoint.channels_in(section), checkpoint.geometry
    geometry.check(section.shape, section.name)
    tissue = tissue_mask(section, cancel)
    corners = patch_corners(section.shape, geometry, tissue, overlap=0, min_tissue=_MIN_TISSUE)
    if not corners:
        raise MitoxaiError(f"{section.name} has no patch that is half tissue: judge on another section.")
    drawn = np.random.default_rng(parameters.seed).permutation(len(corners))[: parameters.patches]
    corners = [corners[index] for index in sorted(drawn)]
    seen = as_seen(section, parameters.mask)
    patches = np.stack(
        [checkpoint.scaling(counts) for counts in read_patches(seen, planes, corners, geometry)]
    )
    model = prepared(checkpoint, pick_device(parameters.device))
    device = next(model.parameters()).device
    score = _score(parameters, checkpoint, section, store)
    network = Network(model, score, batch_size=parameters.batch_size, cancel=cancel)
    if parameters.target == "predicted" and store is None:
        called = int(network.logits(patches).mean(0).argmax())
        score = _score(
            parameters.model_copy(update={"target": checkpoint.classes[called]}), checkpoint, section, None
        )
        network = Network(model, score, batch_size=parameters.batch_size, cancel=cancel)
    judge = Judge(network, patches, lambda seed: checkpoint.untrained(seed).to(device), _settings(parameters))
    return judge, score.describe(checkpoint.classes)


def _settings(parameters: "TrustParameters") -> "Settings":
    from napari_mitoxai.trust.judging import Settings

    return Settings(**{name: getattr(parameters, name) for name in Settings.__dataclass_fields__})


def _score(
    parameters: "TrustParameters", checkpoint: "Checkpoint", section: "Section", store: "MapStore | None"
) -> "Score":
    """Which number of the network is explained: that of the maps, or the one that the parameters name."""
    from napari_mitoxai.explain.plan import Score, class_index

    classes = checkpoint.classes
    if store is not None:
        if parameters.target is not None and parameters.target != store.info["target_class"]:
            raise MitoxaiError(
                f"{store.path.name} explains {store.info['target']}, not {parameters.target}: leave the class out, or explain that one."
            )
        others: list[int | None] = [None, *range(len(classes))]
        outputs: tuple[Literal["logit", "probability"], ...] = ("logit", "probability")
        for target in range(len(classes)):
            for score in (Score(target, against, output) for against in others for output in outputs):
                if score.describe(classes) == store.info["target"]:
                    return score
        raise MitoxaiError(
            f"{store.path.name} explains {store.info['target']}, which is no score of this model: explain the section again."
        )
    name = parameters.target
    if name == "true" and name not in classes:
        if section.group not in classes:
            raise MitoxaiError(
                f"The true class of {section.name} is not known: name it, as --target {classes[-1]}."
            )
        name = section.group
    if name == "predicted" and name not in classes:
        name = None  # known once the model was asked
    return Score(class_index(classes, name), None, parameters.output)


class Work:
    """The checks of all methods one after the other, those known from before at once."""

    def __init__(self, parameters: "TrustParameters", judge: "Judge", weights: str, cache: Any) -> None:
        from napari_mitoxai.trust.cache import digest_of

        self._parameters, self._judge, self._cache = parameters, judge, cache
        self._common = {
            "weights": weights,
            "patches": digest_of(judge.patches),
            "score": asdict(judge.network.score),
        }
        self.judged: dict[str, dict[str, Outcome]] = {}
        self.notes: list[str] = []
        self.computed = self.known = 0

    def do(self, wanted: "list[Wanted]", progress: ProgressCallback) -> None:
        """Judge each method; one that has no meaning for this network is left out, with a note."""
        from napari_mitoxai.explain import Unsuitable

        total = len(wanted) * len(self._parameters.checks)
        for number, each in enumerate(wanted):
            outcomes: dict[str, Outcome] = {}
            try:
                for place, check in enumerate(self._parameters.checks):
                    done = number * len(self._parameters.checks) + place
                    detail = f"{each.label}: {CHECKS[check].title.lower()}"
                    progress(Progress("Judging maps", done, total, detail))
                    outcomes[check] = self._one(check, each)
            except Unsuitable as error:
                self.notes.append(f"{each.label} was left out: {error}")
                continue
            self.judged[each.label] = outcomes
        progress(Progress("Judging maps", total, total, ""))

    def _one(self, check: str, wanted: "Wanted") -> "Outcome":
        settings = asdict(self._judge.settings)
        key = {
            **self._common,
            "check": check,
            "settings": {name: settings[name] for name in CHECKS[check].settings},
            "method": wanted.method.name,
            "parameters": wanted.parameters.model_dump(mode="json"),
        }
        known: Outcome | None = self._cache.get(key)
        if known is not None:
            self.known += 1
            return known
        outcome = self._judge.judge(check, wanted)
        self._cache.put(key, outcome)
        self.computed += 1
        return outcome
