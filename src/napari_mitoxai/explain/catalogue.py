"""The explanation methods; needs no torch. A new method is one new module and one entry here."""

from pydantic import Field

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


class LrpZParameters(MethodParameters):
    """LRP-Z has no parameters."""


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


METHODS: tuple[Method, ...] = (
    Method(
        name="gradient",
        title="Gradient",
        description="How much the class score would change if a pixel of a channel were a little brighter. "
        "It shows where the network is sensitive, not what it has found, and is noisy in deep networks.",
        source="Simonyan, Vedaldi and Zisserman (2014), arXiv:1312.6034",
        signed=True,
        per_channel=True,
        implementation="gradients:gradient",
    ),
    Method(
        name="input_x_gradient",
        title="Input × gradient",
        description="The gradient times the (scaled) value of the pixel: a first-order guess of what the pixel adds to the "
        "class score. A pixel whose scaled value is zero never gets anything, whatever it means.",
        source="Shrikumar et al. (2016), arXiv:1605.01713",
        signed=True,
        per_channel=True,
        implementation="gradients:input_x_gradient",
    ),
    Method(
        name="guided_backprop",
        title="Guided backpropagation",
        description="The gradient with every negative signal and every inactive unit removed at each ReLU: crisp outlines "
        "of what drives units up. It depends little on the class and on the trained weights, so read it as texture, not "
        "as evidence; it has no meaning in networks without ReLU.",
        source="Springenberg et al. (2015), arXiv:1412.6806",
        signed=True,
        per_channel=True,
        implementation="rectifiers:guided_backprop",
    ),
    Method(
        name="deconvnet",
        title="Deconvnet",
        description="The class score sent back through the network with every negative signal removed at each ReLU, "
        "whether the unit was active or not. It shows the patterns that the network could answer to and depends "
        "little on the picture; it has no meaning in networks without ReLU.",
        source="Zeiler and Fergus (2014), arXiv:1311.2901",
        signed=True,
        per_channel=True,
        implementation="rectifiers:deconvnet",
    ),
    Method(
        name="grad_cam",
        title="Grad-CAM",
        description="Where the last feature map of the network speaks for the class: each of its planes weighted by its "
        "mean gradient, only the positive part. Robust, but as coarse as that feature map, and it cannot tell channels apart.",
        source="Selvaraju et al. (2017), arXiv:1610.02391",
        signed=False,
        per_channel=False,
        implementation="grad_cam:grad_cam",
        parameters=GradCamParameters,
    ),
    Method(
        name="lrp_z",
        title="LRP-Z",
        description="Shares the class score among the inputs of every layer in proportion to what they added, down to pixels "
        "and channels. Exact bookkeeping without a stabiliser: on ReLU networks it equals input × gradient, and it is as noisy.",
        source=_BACH,
        signed=True,
        per_channel=True,
        implementation="relevance:lrp_z",
        parameters=LrpZParameters,
    ),
    Method(
        name="lrp_epsilon",
        title="LRP-epsilon",
        description="Shares the class score among the inputs of every layer in proportion to what they added; a small epsilon "
        "in each denominator absorbs what is weak or contradictory. Signed, per channel, and sums nearly to the class score "
        f"minus what biases hold. {_NO_TRUTH}",
        source=_BACH,
        signed=True,
        per_channel=True,
        implementation="relevance:lrp_epsilon",
        parameters=LrpParameters,
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
        implementation="relevance:lrp_epsilon_plus",
        parameters=LrpParameters,
    ),
)
