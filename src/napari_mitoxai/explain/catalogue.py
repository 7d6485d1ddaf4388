"""The explanation methods; needs no torch. A new method is one new module and one entry here."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from napari_mitoxai.explain.description import Method, MethodParameters

_BACH = "Bach et al. (2015), PLoS ONE 10: e0130140"
_NO_TRUTH = "It says what this network uses, not what the disease does."


class GradCamParameters(MethodParameters):
    """Parameters of Grad-CAM."""

    layer: str | None = Field(
        default=None,
        title="Layer",
        description="Name of the module whose output is weighted; by default the last feature map of the network.",
    )


Mode = Literal["canonical", "innvestigate"]
MODE_DESCRIPTION = (
    "canonical: as the method is defined. innvestigate: as iNNvestigate 2.1.2 computed it, with its mistakes, to make published "
    "maps again."
)


class RectifierParameters(MethodParameters):
    """Parameters of guided backpropagation and Deconvnet."""

    mode: Mode = Field(default="canonical", title="Mode", description=MODE_DESCRIPTION)


class DeepTaylorParameters(MethodParameters):
    """Parameters of Deep Taylor decomposition."""

    low: float | None = Field(
        default=None,
        ge=-1e6,
        le=1e6,
        title="Lowest input",
        description="Lowest possible scaled value of a pixel; with the highest, the first layer takes the bounds into account.",
    )
    high: float | None = Field(
        default=None,
        ge=-1e6,
        le=1e6,
        title="Highest input",
        description="Highest possible scaled value of a pixel; together with the lowest, or not at all.",
    )
    mode: Mode = Field(default="canonical", title="Mode", description=MODE_DESCRIPTION)

    @model_validator(mode="after")
    def _check_bounds(self) -> "DeepTaylorParameters":
        if (self.low is None) != (self.high is None):
            raise PydanticCustomError("bounds", "low and high belong together: give both or neither")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise PydanticCustomError("bounds", "low must be below high")
        return self


class LrpZParameters(MethodParameters):
    """Parameters of LRP-Z."""

    mode: Mode = Field(default="canonical", title="Mode", description=MODE_DESCRIPTION)


class LrpParameters(MethodParameters):
    """Parameters of the stabilised LRP rules."""

    epsilon: float = Field(
        default=1e-4,
        ge=0,
        le=1e6,
        title="Epsilon",
        description="Stabiliser added to every denominator; larger values give calmer maps that lose more relevance.",
    )
    relative: bool = Field(
        default=True,
        title="Relative epsilon",
        description="Epsilon is a share of the largest activation of the layer, in each patch; else an absolute number.",
    )


class LrpPresetParameters(LrpParameters):
    """Parameters of the LRP rules that iNNvestigate has too."""

    mode: Mode = Field(
        default="canonical",
        title="Mode",
        description=f"{MODE_DESCRIPTION} There epsilon is never relative, and only in the epsilon rule.",
    )

    @model_validator(mode="before")
    @classmethod
    def _absolute_as_there(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("mode") == "innvestigate":
            return {**given, "relative": False}
        return given


_Seed = Annotated[
    int,
    Field(
        ge=0, le=2**31 - 1, title="Seed", description="The same seed gives the same map of the same patch."
    ),
]
_Baseline = Annotated[
    float,
    Field(
        ge=-1e6,
        le=1e6,
        title="Baseline",
        description="Scaled value that stands for nothing to see, in every channel; 0 is the mean of the training sections.",
    ),
]


class NoiseParameters(MethodParameters):
    """How a map is averaged over noisy copies of the patch."""

    samples: int = Field(
        default=1,
        ge=1,
        le=10_000,
        title="Samples",
        description="How many noisy copies of the patch are explained and averaged; 1 is the patch itself, without noise. "
        "Everything is computed that many times.",
    )
    noise: float = Field(
        default=0.15,
        ge=0,
        le=1e6,
        title="Noise",
        description="Standard deviation of the noise.",
    )
    relative: bool = Field(
        default=True,
        title="Relative noise",
        description="The noise is a share of the patch's range, from its lowest to its highest value; else in scaled values.",
    )
    squared: bool = Field(
        default=False,
        title="Squared",
        description="Average the squares of the maps: clearer pictures that are never negative and have no direction.",
    )
    seed: _Seed = 0


class SmoothGradParameters(NoiseParameters):
    """Parameters of SmoothGrad."""

    samples: int = Field(
        default=25,
        ge=1,
        le=10_000,
        title="Samples",
        description="How many noisy copies; the cost grows with it. 1 is the patch itself, without noise.",
    )


_AS_PAIR = "pair: as PAIR's saliency 0.2.1 computed it, to make published maps again."


class IntegratedGradientsParameters(NoiseParameters):
    """Parameters of integrated gradients."""

    baseline: _Baseline = 0.0
    steps: int = Field(
        default=50,
        ge=1,
        le=1000,
        title="Steps",
        description="Points on the way from the baseline; the cost grows with it, and the error falls with it.",
    )
    mode: Literal["canonical", "innvestigate", "pair"] = Field(
        default="canonical",
        title="Mode",
        description="Where the points are. canonical: in the middle of equal parts of the way. innvestigate: where the parts begin, "
        "as iNNvestigate 2.1.2 has them. pair: on both ends and evenly between, as PAIR's saliency 0.2.1 has them.",
    )


class GuidedPathParameters(NoiseParameters):
    """Parameters of guided integrated gradients."""

    baseline: _Baseline = 0.0
    steps: int = Field(
        default=50, ge=1, le=1000, title="Steps", description="Steps of the path; the cost grows with it."
    )
    fraction: float = Field(
        default=0.25,
        gt=0,
        le=1,
        title="Fraction",
        description="Share of the values, those with the smallest slopes, that a step moves first.",
    )
    max_distance: float = Field(
        default=0.1,
        ge=0,
        le=1,
        title="Largest distance",
        description="How far a value may be from the straight way, as a share of its own way; 0 is the straight way, 1 any.",
    )
    mode: Literal["canonical", "pair"] = Field(
        default="canonical",
        title="Mode",
        description="canonical: each step counts with the mean of the slopes at its two ends, so that the map sums to the change of "
        f"the score. {_AS_PAIR} There it counts with the slope at its start.",
    )


class BlurParameters(NoiseParameters):
    """Parameters of blur integrated gradients."""

    max_sigma: float = Field(
        default=20.0,
        gt=0,
        le=1000,
        title="Widest blur",
        description="Standard deviation, in pixels of the network's input, of the blur where the way starts.",
    )
    steps: int = Field(
        default=50, ge=1, le=1000, title="Steps", description="Widths of the blur; the cost grows with it."
    )
    mode: Literal["canonical", "pair"] = Field(
        default="canonical",
        title="Mode",
        description="canonical: most widths are narrow, where the picture changes most, and the blur is exact. "
        f"{_AS_PAIR} There the widths are evenly spaced, and the Gaussian is cut at four standard deviations.",
    )


class XraiParameters(MethodParameters):
    """Parameters of XRAI."""

    baseline: _Baseline | None = Field(
        default=None,
        title="Baseline",
        description="Scaled value that the integrated gradients start at; by default their mean from the lowest and "
        "from the highest value of the patch, so that neither dark nor bright pixels are left out.",
    )
    steps: int = Field(
        default=25,
        ge=1,
        le=1000,
        title="Steps",
        description="Points on each way from a baseline; the cost grows with it.",
    )
    top_fraction: float = Field(
        default=1.0,
        gt=0,
        le=1,
        title="Top fraction",
        description="Keep at most this share of each patch, its highest values, and set the rest to 0; the best region is kept "
        "even if it is larger.",
    )
    mode: Literal["canonical", "pair"] = Field(
        default="canonical",
        title="Mode",
        description="Where the points on a way are. canonical: in the middle of equal parts of it. pair: on both ends and evenly "
        "between, as PAIR's saliency 0.2.1 has them.",
    )


class OcclusionParameters(MethodParameters):
    """Parameters of occlusion."""

    window: int = Field(
        default=16,
        ge=1,
        le=4096,
        title="Window",
        description="Side of the covered square, in pixels of the input.",
    )
    stride: int = Field(
        default=8,
        ge=1,
        le=4096,
        title="Stride",
        description="Pixels from one window to the next, at most the window; halving it costs four times as much.",
    )
    baseline: _Baseline = 0.0
    per_channel: bool = Field(
        default=False,
        title="Channel by channel",
        description="Cover one channel at a time and give a map for each; the cost grows with their number.",
    )

    @model_validator(mode="after")
    def _leave_no_gaps(self) -> "OcclusionParameters":
        if self.stride > self.window:
            raise PydanticCustomError("stride", "windows further apart than they are wide leave gaps")
        return self


class RandomParameters(MethodParameters):
    """Parameters of the random map."""

    seed: _Seed = 0


METHODS: tuple[Method, ...] = (
    Method(
        name="gradient",
        title="Gradient",
        description="How much the class score would change if a pixel of a channel were a little brighter. "
        "It shows where the network is sensitive, not what it has found, and is noisy in deep networks.",
        source="Simonyan, Vedaldi and Zisserman (2014), arXiv:1312.6034",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.gradients:gradient",
    ),
    Method(
        name="smoothgrad",
        title="SmoothGrad",
        description="The gradient averaged over noisy copies of the patch, which keeps what the network is steadily sensitive to "
        "and drops much of the noise of a single gradient. Too much noise asks about pictures that the network "
        "has never seen. With squared, a map says where, not for or against. Costs as many gradients as samples.",
        source="Smilkov et al. (2017), arXiv:1706.03825; squared: Hooker et al. (2019), arXiv:1806.10758",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.smoothgrad:smoothgrad",
        passes="many",
        parameters=SmoothGradParameters,
        presets={
            "seed-exact": {"samples": 64, "noise": 25.6, "relative": False, "squared": True},
            "pair-exact": {"samples": 25, "noise": 0.15, "relative": True, "squared": True},
        },
    ),
    Method(
        name="input_x_gradient",
        title="Input × gradient",
        description="The gradient times the (scaled) value of the pixel: a first-order guess of what the pixel adds to the "
        "class score. A pixel whose scaled value is zero never gets anything, whatever it means.",
        source="Shrikumar et al. (2016), arXiv:1605.01713",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.gradients:input_x_gradient",
    ),
    Method(
        name="integrated_gradients",
        title="Integrated gradients",
        description="What each pixel of a channel adds to the class score on the straight way from a baseline to the patch; the map "
        "sums to the difference of the two scores. It answers for this baseline: a pixel with the baseline's value gets "
        "nothing, and on the way the network sees pictures that do not exist. With more than one sample it is averaged over "
        "noisy copies of the patch. Costs as many gradients as steps times samples.",
        source="Sundararajan, Taly and Yan (2017), arXiv:1703.01365",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.path_integrals:integrated_gradients",
        passes="many",
        parameters=IntegratedGradientsParameters,
        presets={
            "seed-exact": {"baseline": -128.0, "steps": 64, "mode": "innvestigate"},
            "pair-exact": {"baseline": 0.0, "steps": 25, "mode": "pair"},
            "pair-exact-smoothed": {
                "baseline": 0.0,
                "steps": 25,
                "mode": "pair",
                "samples": 25,
                "noise": 0.15,
                "relative": True,
                "squared": True,
            },
        },
    ),
    Method(
        name="guided_integrated_gradients",
        title="Guided integrated gradients",
        description="Integrated gradients on a way that moves first the pixels to which the score reacts least, so that less noise is "
        "collected than on the straight way. The way is chosen by the network itself, and a small change of the patch "
        "can change it, as can the number of steps. With the steps and distance that are given, the map sums to the difference of "
        "the scores of patch and baseline within 1 to 2 % (as PAIR counts, 10 to 20 %). With more than one sample it is "
        "averaged over noisy copies of the patch. Costs as many gradients as steps times samples, one patch at a time.",
        source="Kapishnikov et al. (2021), arXiv:2106.09788",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.guided_path:guided_integrated_gradients",
        passes="many",
        parameters=GuidedPathParameters,
        presets={
            "pair-exact": {
                "baseline": 0.0,
                "steps": 25,
                "fraction": 0.5,
                "max_distance": 1.0,
                "mode": "pair",
            },
            "pair-exact-smoothed": {
                "baseline": 0.0,
                "steps": 25,
                "fraction": 0.5,
                "max_distance": 1.0,
                "mode": "pair",
                "samples": 25,
                "noise": 0.15,
                "relative": True,
                "squared": True,
            },
        },
    ),
    Method(
        name="blur_integrated_gradients",
        title="Blur integrated gradients",
        description="What each pixel adds to the class score while the patch goes from blurred to sharp: which detail counts, with no "
        "value standing for nothing. What survives the widest blur, such as a protein's overall level, gets no credit, "
        "and outside the patch counts as 0. The map sums to the difference of the scores of the patch and the most blurred patch. With "
        "more than one sample it is averaged over noisy copies of the patch. Costs as many gradients as steps times samples.",
        source="Xu, Venugopalan and Sundararajan (2020), arXiv:2004.03383",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.path_integrals:blur_integrated_gradients",
        passes="many",
        parameters=BlurParameters,
        presets={
            "pair-exact": {"max_sigma": 50.0, "steps": 100, "mode": "pair"},
            "pair-exact-smoothed": {
                "max_sigma": 50.0,
                "steps": 100,
                "mode": "pair",
                "samples": 25,
                "noise": 0.15,
                "relative": True,
                "squared": True,
            },
        },
    ),
    Method(
        name="xrai",
        title="XRAI",
        description="Integrated gradients, the highest of any channel, gathered into regions of the patch: region after region, that "
        "with the highest mean among what is left. Easy to read and steady, but its outlines are those of the "
        "segmentation, not of the evidence, and it cannot tell channels apart. Regions come from the patch itself if it has "
        "up to three channels, else from the mean of its channels. Costs twice as many gradients as steps.",
        source="Kapishnikov et al. (2019), arXiv:1906.02825",
        signed=True,
        per_channel=False,
        implementation="napari_mitoxai.explain.xrai:xrai",
        passes="many",
        parameters=XraiParameters,
        presets={
            "pair-exact": {"baseline": None, "steps": 100, "mode": "pair"},
            "pair-exact-30": {"baseline": None, "steps": 100, "mode": "pair", "top_fraction": 0.3},
        },
    ),
    Method(
        name="fast_xrai",
        title="Fast XRAI",
        description="XRAI with the regions ranked once by their mean instead of anew after each choice: the same reading, coarser, "
        "as a region that overlaps a better one keeps its rank. The gradients, most of the cost, are the same and are shared.",
        source="Kapishnikov et al. (2019), arXiv:1906.02825",
        signed=True,
        per_channel=False,
        implementation="napari_mitoxai.explain.xrai:fast_xrai",
        passes="many",
        parameters=XraiParameters,
        presets={"pair-exact": {"baseline": None, "steps": 100, "mode": "pair"}},
    ),
    Method(
        name="guided_backprop",
        title="Guided backpropagation",
        description="The gradient with every negative signal and every inactive unit removed at each ReLU: crisp outlines "
        "of what drives units up. It depends little on the class and on the trained weights, so read it as texture, not "
        "as evidence; it has no meaning in networks without ReLU. "
        "iNNvestigate starts at the class score instead of at 1, so its maps are these times the score if that is positive.",
        source="Springenberg et al. (2015), arXiv:1412.6806",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.rectifiers:guided_backprop",
        parameters=RectifierParameters,
        presets={"seed-exact": {"mode": "innvestigate"}},
    ),
    Method(
        name="deconvnet",
        title="Deconvnet",
        description="The class score sent back through the network with every negative signal removed at each ReLU, "
        "whether the unit was active or not. It shows the patterns that the network could answer to and depends "
        "little on the picture; it has no meaning in networks without ReLU. "
        "iNNvestigate starts at the class score instead of at 1, so its maps are these times the score if that is positive.",
        source="Zeiler and Fergus (2014), arXiv:1311.2901",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.rectifiers:deconvnet",
        parameters=RectifierParameters,
        presets={"seed-exact": {"mode": "innvestigate"}},
    ),
    Method(
        name="grad_cam",
        title="Grad-CAM",
        description="Where the last feature map of the network speaks for the class: each of its planes weighted by its "
        "mean gradient, only the positive part. Robust, but as coarse as that feature map, and it cannot tell channels apart.",
        source="Selvaraju et al. (2017), arXiv:1610.02391",
        signed=False,
        per_channel=False,
        implementation="napari_mitoxai.explain.grad_cam:grad_cam",
        parameters=GradCamParameters,
    ),
    Method(
        name="guided_grad_cam",
        title="Guided Grad-CAM",
        description="Guided backpropagation times Grad-CAM: the fine outlines of the first where the second sees evidence for the "
        "class. The place is the class's, the texture within is not, and there is no map in networks without ReLU.",
        source="Selvaraju et al. (2017), arXiv:1610.02391",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.guided_grad_cam:guided_grad_cam",
        parameters=GradCamParameters,
    ),
    Method(
        name="occlusion",
        title="Occlusion",
        description="How much the class score falls when a window of the patch is covered by a constant, averaged over the windows "
        "that hold a pixel. It needs no gradient and is plain to understand, but sees nothing finer than the window, and "
        "evidence present twice covers for itself. Costs a forward pass a window: at 128 pixels, 225 of them.",
        source="Zeiler and Fergus (2014), arXiv:1311.2901",
        signed=True,
        per_channel=False,
        implementation="napari_mitoxai.explain.occlusion:occlusion",
        passes="many",
        parameters=OcclusionParameters,
    ),
    Method(
        name="lrp_z",
        title="LRP-Z",
        description="Shares the class score among the inputs of every layer in proportion to what they added, down to pixels "
        "and channels. Exact bookkeeping without a stabiliser: on ReLU networks it equals input × gradient, and it is as noisy. "
        "iNNvestigate differs at batch norms.",
        source=_BACH,
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.relevance:lrp_z",
        parameters=LrpZParameters,
        presets={"seed-exact": {"mode": "innvestigate"}},
    ),
    Method(
        name="lrp_epsilon",
        title="LRP-epsilon",
        description="Shares the class score among the inputs of every layer in proportion to what they added; a small epsilon "
        "in each denominator absorbs what is weak or contradictory. Signed, per channel, and sums nearly to the class score "
        f"minus what biases hold. {_NO_TRUTH} iNNvestigate differs at batch norms, and its epsilon is absolute.",
        source=_BACH,
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.relevance:lrp_epsilon",
        parameters=LrpPresetParameters,
        presets={"seed-exact": {"mode": "innvestigate", "epsilon": 1.0}},
    ),
    Method(
        name="lrp_epsilon_plus",
        title="LRP-epsilon-plus",
        description="LRP-epsilon in dense layers and the z⁺ rule (alpha 1, beta 0) in convolutions, which follows only what "
        "excites a unit: smooth maps of all that took part. It tends to show everything visible, and can hide evidence "
        "that speaks by its absence. Depthwise convolutions use epsilon, as a single channel may have no positive part.",
        source=f"{_BACH}; Montavon et al. (2019), doi:10.1007/978-3-030-28954-6_10",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.relevance:lrp_epsilon_plus",
        parameters=LrpParameters,
    ),
    Method(
        name="lrp_preset_a_flat",
        title="LRP preset A flat",
        description="LRP-epsilon-plus with a first layer that shares evenly among all the pixels and channels it sees: smooth "
        "maps of where the evidence is, which cannot say which protein, as all channels get the same. Depthwise "
        "convolutions use epsilon. iNNvestigate counts biases twice, mistakes batch norms, and drops the even "
        "sharing if padding is a layer of its own.",
        source=f"{_BACH}; Lapuschkin et al. (2019), Nature Communications 10: 1096; Kohlbrenner et al. (2020), arXiv:1910.09840",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.relevance:lrp_preset_a_flat",
        parameters=LrpPresetParameters,
        presets={"seed-exact": {"mode": "innvestigate", "epsilon": 1.0}},
    ),
    Method(
        name="lrp_preset_b_flat",
        title="LRP preset B flat",
        description="As preset A flat, but convolutions weigh what excites a unit twice and subtract what inhibits it (alpha 2, "
        "beta 1): sharper, with evidence against the class, and less steady where little inhibits. All channels get the "
        "same. Depthwise convolutions use epsilon. iNNvestigate counts biases twice, which on networks with biases "
        "gives very different maps, mistakes batch norms, and drops the even sharing if padding is a layer of its own.",
        source=f"{_BACH}; Lapuschkin et al. (2019), Nature Communications 10: 1096; Kohlbrenner et al. (2020), arXiv:1910.09840",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.relevance:lrp_preset_b_flat",
        parameters=LrpPresetParameters,
        presets={"seed-exact": {"mode": "innvestigate", "epsilon": 1.0}},
    ),
    Method(
        name="deep_taylor",
        title="Deep Taylor",
        description="The positive part of the class score shared, in every layer and without biases, among what excites: no "
        "relevance is negative and none is lost. It shows all that took part, and nothing that speaks against; a class "
        "with a negative score has an empty map. With the lowest and the highest possible input the first layer also credits "
        "what is dark. iNNvestigate uses the plain gradient at batch norms, additions and averages, so that relevance is not kept.",
        source="Montavon et al. (2017), Pattern Recognition 65: 211-222",
        signed=False,
        per_channel=True,
        implementation="napari_mitoxai.explain.deep_taylor:deep_taylor",
        parameters=DeepTaylorParameters,
        presets={"seed-exact": {"mode": "innvestigate", "low": -128.0, "high": 128.0}},
    ),
    Method(
        name="random",
        title="Random",
        description="Noise, the same whenever the same patch comes. It explains nothing: a method that scores no better "
        "has found nothing.",
        source="A baseline, from no paper",
        signed=True,
        per_channel=True,
        implementation="napari_mitoxai.explain.baselines:random",
        parameters=RandomParameters,
    ),
    Method(
        name="edge_detector",
        title="Edge detector",
        description="How steep the picture is, by Sobel filters, channel by channel. It does not ask the network: a method "
        "whose maps look like this one may show the picture, not the evidence.",
        source="As a baseline: Adebayo et al. (2018), arXiv:1810.03292",
        signed=False,
        per_channel=True,
        implementation="napari_mitoxai.explain.baselines:edge_detector",
    ),
)
