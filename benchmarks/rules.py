"""Layer-wise relevance propagation beside Zennit: epsilon, and alpha 2 beta 1.

    python benchmarks/rules.py [--size 224] [--batch 2] [--repeats 5]

Zennit gets the canonizer that its documentation asks for: merged batch norms, and sums as modules in ResNet18.
"""

import argparse
import warnings

import torch
import torchvision
from side_by_side import HEADER, compare
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import LayerMapComposite, layer_map_base
from zennit.core import Composite
from zennit.rules import AlphaBeta, Epsilon
from zennit.torchvision import ResNetCanonizer
from zennit.types import Convolution, Linear

from napari_mitoxai.explain import attribute_many
from napari_mitoxai.explain.kernel_rules import AlphaBeta as OurAlphaBeta
from napari_mitoxai.explain.kernel_rules import Epsilon as OurEpsilon
from napari_mitoxai.explain.kernel_rules import Stabiliser
from napari_mitoxai.explain.question import Question
from napari_mitoxai.explain.relevance_rules import RelevanceRules

STABILISER = Stabiliser(1e-6, relative=False)
"""The only kind that Zennit has."""


def alpha_beta(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Alpha 2 beta 1 in convolutions, the first too, and epsilon in dense layers."""
    rules = RelevanceRules(OurAlphaBeta(2.0, 1.0, STABILISER), OurEpsilon(STABILISER), STABILISER)
    question = Question(net, x, 1)
    return question.back(rules, question.score_as_relevance("LRP"))


def by_zennit(net: torch.nn.Module, x: torch.Tensor, composite: Composite) -> torch.Tensor:
    with Gradient(net, composite) as attributor:
        start = torch.eye(2)[[1] * len(x)]
        return attributor(x, lambda logits: start * logits)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224, help="side of an input in pixels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    x = torch.randn(options.batch, 3, options.size, options.size)
    epsilon = {"lrp_epsilon": {"epsilon": 1e-6, "relative": False}}
    print(f"{options.batch} inputs of {options.size} pixels\n\n{HEADER}")
    for name, canonizer in (("vgg16", SequentialMergeBatchNorm()), ("resnet18", ResNetCanonizer())):
        net = torchvision.models.get_model(name, weights=None, num_classes=2).eval().requires_grad_(False)
        for work, ours, convolution in (
            (
                "epsilon",
                lambda net=net: attribute_many(net, x, epsilon).maps["lrp_epsilon"],
                Epsilon(epsilon=1e-6),
            ),
            (
                "alpha 2 beta 1",
                lambda net=net: alpha_beta(net, x),
                AlphaBeta(alpha=2, beta=1, stabilizer=1e-6),
            ),
        ):
            layers = [*layer_map_base(), (Convolution, convolution), (Linear, Epsilon(epsilon=1e-6))]
            composite = LayerMapComposite(layers, canonizers=[canonizer])
            theirs = by_zennit(net, x, composite)
            error = float((ours() - theirs).abs().max() / theirs.abs().max())
            compared = compare(ours, lambda net=net, c=composite: by_zennit(net, x, c), options.repeats)
            print(compared.row(f"{name}, {work} (difference {error:.0e})", "Zennit"), flush=True)


if __name__ == "__main__":
    main()
