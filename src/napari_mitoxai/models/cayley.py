"""Turning a rotation so that its first rows point to given directions: the curvilinear search of concept whitening."""

import torch
from torch import Tensor

_OUTER = 2
_FIRST_STEP = 1000.0
_ARMIJO, _WOLFE = 1e-4, 0.9
_BISECTIONS = 500


def turned_towards(rotation: Tensor, directions: Tensor) -> Tensor:
    """One update of a rotation by the Cayley search of Chen, Bei and Rudin (2020), after Wen and Yin (2013).

    It goes down F(R) = -sum_j <R_j, directions_j> along the curve (1 + t/2 A)^-1 (1 - t/2 A) R with
    A = G R' - R G' and G the gradient, with steps t from 1000 on that are bisected until they meet the conditions of Armijo (1e-4) and
    Wolfe (0.9), twice. A lives in the space of at most twice as many dimensions as there are directions, where all of it
    is computed; the result is the same.

    Parameters
    ----------
    rotation : Tensor
        (F, F), orthogonal.
    directions : Tensor
        (K, F), K up to F: what the first K rows are turned to. Rows of zeros turn nothing.

    Returns
    -------
    Tensor
        (F, F), orthogonal to rounding, of the type and on the device of `rotation`.
    """
    turned, gradient = rotation.detach().cpu().double(), -directions.detach().cpu().double()
    for _ in range(_OUTER):
        turned = _searched(turned, gradient)
    # rounding to float32 over thousands of updates would add up: one step back to the nearest orthogonal matrix
    turned = 1.5 * turned - 0.5 * turned @ turned.T @ turned
    return turned.to(rotation)


def _searched(rotation: Tensor, gradient: Tensor) -> Tensor:
    """One step along the curve."""
    count = len(gradient)
    product = gradient @ rotation.T
    rows = torch.eye(len(rotation), dtype=rotation.dtype)[:, :count]
    basis, _ = torch.linalg.qr(torch.cat([rows, product.T], 1))
    inside = basis.T @ rows @ product @ basis
    skew = inside - inside.T
    slope = -0.5 * (skew**2).sum()
    if slope == 0:  # there already, or nothing to turn to
        return rotation
    pull = basis.T @ rotation @ gradient.T @ rows.T @ basis
    one = torch.eye(len(skew), dtype=skew.dtype)

    def along(step: float) -> tuple[Tensor, Tensor, Tensor]:
        """The turn, how much lower F is, and its slope there."""
        inverse = torch.linalg.inv(one + step / 2 * skew)
        turn = inverse @ (one - step / 2 * skew)
        lower = ((turn - one) @ pull).trace()
        return turn, lower, -(inverse @ skew @ (one + turn) / 2 @ pull).trace()

    step, low, high = _FIRST_STEP, 0.0, 1e8
    for _ in range(_BISECTIONS):
        turn, change, own_slope = along(step)
        if change > _ARMIJO * step * slope + 1e-18:
            high = step
        elif own_slope + 1e-18 < _WOLFE * slope:
            low = step
        else:
            break
        step = (low + high) / 2
    return rotation + basis @ (turn - one) @ (basis.T @ rotation)
