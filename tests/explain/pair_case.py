"""What the stored results of PAIR's `saliency` were computed on; also makes them, and asks the library itself.

``data/pair_saliency.npz`` was written by ``python pair_case.py`` with saliency 0.2.1, numpy 2.4 and double precision.
Only the tests marked `oracle` need the library. Its guided integrated gradients pass numpy an argument that numpy 2.4 dropped,
hence the substitute below.
"""

from contextlib import contextmanager
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
STEPS = 15  # of integrated gradients and XRAI


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


def as_map(mask):
    """A mask of theirs (Y, X, 3) as a map (3, Y, X)."""
    return torch.from_numpy(np.moveaxis(mask, -1, 0).copy())


def gradients(net, target=1):
    """What PAIR asks for the gradient of a class score."""
    from saliency.core import INPUT_OUTPUT_GRADIENTS

    def call(points, call_model_args=None, expected_keys=None):
        x = torch.from_numpy(np.moveaxis(np.asarray(points, np.float64), -1, 1).copy())
        # as ours, to the last bit: on it hangs which values a guided path moves
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        (gradient,) = torch.autograd.grad(net(x)[:, target].sum(), x)
        return {INPUT_OUTPUT_GRADIENTS: np.moveaxis(gradient.numpy(), 1, -1)}

    return call


@contextmanager
def numpy_as_it_was():
    """`numpy.quantile` with the argument that PAIR knows."""
    quantile = np.quantile
    np.quantile = lambda a, q, interpolation: quantile(a, q, method=interpolation)
    try:
        yield
    finally:
        np.quantile = quantile


def theirs(method, picture, call, **parameters):
    """A mask of theirs of a picture (Y, X, channels)."""
    import saliency.core as pair

    if method == "xrai":
        parameters = {"extra_parameters": pair.XRAIParameters(**parameters)}
    kinds = {
        "integrated": pair.IntegratedGradients,
        "guided": pair.GuidedIG,
        "blur": pair.BlurIG,
        "xrai": pair.XRAI,
    }
    if method != "guided":  # whose loop needs the old argument; scikit-image, which XRAI asks, the new one
        return kinds[method]().GetMask(picture, call, **parameters)
    with numpy_as_it_was():
        return kinds[method]().GetMask(picture, call, **parameters)


def _make() -> None:
    from saliency.core import xrai as pair_xrai

    call = gradients(network())
    rng = np.random.default_rng(0)
    picture = ndimage.gaussian_filter(rng.normal(size=(48, 40, 3)), (3, 3, 0)) * 10
    picture = picture.astype(np.float32)
    exact = picture.astype(np.float64)
    masks = np.array(pair_xrai._get_segments_felzenszwalb(picture))
    stored = {
        "picture": picture,
        "integrated": theirs("integrated", exact, call, x_steps=STEPS),
        "blur": theirs("blur", exact, call, max_sigma=BLUR_SIGMA, steps=BLUR_STEPS),
        "xrai": theirs("xrai", picture, call, algorithm="full", steps=STEPS),
        "fast_xrai": theirs("xrai", picture, call, algorithm="fast", steps=STEPS),
        "masks": np.packbits(masks),
        "mask_count": np.array(len(masks)),
    }
    for name, (steps, fraction, distance) in GUIDED.items():
        stored[f"guided_{name}"] = theirs(
            "guided", picture, call, x_steps=steps, fraction=fraction, max_dist=distance
        )
    np.savez_compressed(STORED, **stored)


if __name__ == "__main__":
    _make()
