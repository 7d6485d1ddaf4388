"""Where to compute."""

import torch

from napari_mitoxai.common import MitoxaiError


def pick_device(name: str = "auto") -> torch.device:
    """The device to compute on.

    Parameters
    ----------
    name : str
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises
    ------
    MitoxaiError
        If this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MitoxaiError(f"This machine has no device {name!r}: choose auto or cpu.") from error
    return device
