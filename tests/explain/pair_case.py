"""What the stored results of PAIR's `saliency` were computed on; also makes them.

``data/pair_saliency.npz`` was written by ``python pair_case.py`` with saliency 0.2.1, numpy 2.4 and double precision.
The library is not needed to run the tests. Its guided integrated gradients pass numpy an argument that numpy 2.4 dropped,
hence the substitute below.
"""

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import nn

STORED = Path(__file__).parent / "data" / "pair_saliency.npz"
GUIDED = {
    "half": (25, 0.5, 1.0),
    "narrow": (50, 0.25, 0.02),
    "wide": (30, 0.1, 0.3),
}  # steps, fraction, distance
BLUR_STEPS, BLUR_SIGMA = 20, 8.0


def network():
    """Smooth, in double precision, with weights that need no random numbers."""
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Softplus(),
        nn.Conv2d(6, 6, 3, padding=1, stride=2),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(54, 2),
    ).double()
    with torch.no_grad():
        for number, values in enumerate(net.parameters()):
            values.copy_(torch.sin(torch.arange(values.numel()) * 1.7 + number).view_as(values) * 0.4)
    return net.eval()


def as_input(picture):
    """A picture (Y, X, 3) as a batch of one."""
    return torch.from_numpy(np.moveaxis(picture.astype(np.float64), -1, 0)[None].copy())


def _make() -> None:
    import saliency.core as pair
    from saliency.core import xrai as pair_xrai

    from napari_mitoxai.explain import attribute

    quantile = np.quantile
    np.quantile = lambda a, q, interpolation: quantile(a, q, method=interpolation)
    net = network()

    def call(points, call_model_args=None, expected_keys=None):
        x = torch.from_numpy(np.moveaxis(np.asarray(points, np.float64), -1, 1).copy()).requires_grad_()
        (gradient,) = torch.autograd.grad(net(x)[:, 1].sum(), x)
        return {pair.INPUT_OUTPUT_GRADIENTS: np.moveaxis(gradient.numpy(), 1, -1)}

    rng = np.random.default_rng(0)
    picture = ndimage.gaussian_filter(rng.normal(size=(48, 40, 3)), (3, 3, 0)) * 10
    picture = picture.astype(np.float32)
    stored = {"picture": picture}
    for name, (steps, fraction, distance) in GUIDED.items():
        stored[f"guided_{name}"] = pair.GuidedIG().GetMask(
            picture, call, x_steps=steps, fraction=fraction, max_dist=distance
        )
    stored["blur"] = pair.BlurIG().GetMask(
        picture.astype(np.float64), call, max_sigma=BLUR_SIGMA, steps=BLUR_STEPS
    )
    levels = float(picture.min()), float(picture.max())
    paths = [
        attribute(net, as_input(picture), "integrated_gradients", baseline=level, steps=25)
        for level in levels
    ]
    attribution = np.moveaxis(torch.stack(paths).mean(0)[0].numpy(), 0, -1)
    masks = np.array(pair_xrai._get_segments_felzenszwalb(picture))
    stored["masks"], stored["mask_count"] = np.packbits(masks), np.array(len(masks))
    for name in ("full", "fast"):
        options = pair_xrai.XRAIParameters(algorithm=name)
        stored[f"xrai_{name}"] = pair.XRAI().GetMask(
            picture, call, base_attribution=attribution, extra_parameters=options
        )
    np.savez_compressed(STORED, **stored)


if __name__ == "__main__":
    _make()
