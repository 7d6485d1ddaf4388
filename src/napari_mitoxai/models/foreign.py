"""Reading a foreign pickle in a process of its own, tensors only: ``python -m napari_mitoxai.models.foreign IN OUT``."""

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from napari_mitoxai.common import MitoxaiError

_NESTED = ("state_dict", "model_state_dict", "model", "net", "network")
_PREFIXES = ("module.", "model.", "network.", "net.", "_orig_mod.")
_LIMIT_S = 600


def read_foreign(path: Path, folder: Path) -> dict[str, Tensor]:
    """Read the state dict of a ``.pt`` or ``.pth`` file.

    The file is opened in another process and with torch's restricted unpickler. That is no guarantee against a file made
    to do harm: the restriction has been broken more than once.

    Parameters
    ----------
    path : Path
        The file.
    folder : Path
        For the converted tensors; the caller removes it.

    Returns
    -------
    dict
        Tensors by name, without the prefixes that wrappers add.

    Raises
    ------
    MitoxaiError
        If it is not there, or holds anything but tensors.
    """
    if not path.is_file():
        raise MitoxaiError(f"{path} is not there: give a file that torch.save wrote.")
    out = folder / "converted.safetensors"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "napari_mitoxai.models.foreign", str(path.resolve()), str(out)],
            capture_output=True, text=True, timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise MitoxaiError(f"{path.name} could not be read in {_LIMIT_S} s: it is no state dict.") from error
    if done.returncode != 0 or not out.exists():
        reason = done.stderr.strip().splitlines()[-1:] or ["the process ended without a word"]
        raise MitoxaiError(
            f"{path.name} holds no state dict that can be read safely ({reason[0][:200]}): "
            "save it with torch.save(model.state_dict(), ...)."
        )
    return load_file(out)


def plain_state(content: object) -> dict[str, Tensor]:
    """The tensors of a state dict, found where training scripts put it, with plain names.

    Raises
    ------
    ValueError
        If there is none.
    """
    for _ in range(3):
        if not isinstance(content, dict):
            break
        nested = next((content[key] for key in _NESTED if isinstance(content.get(key), dict)), None)
        if nested is None:
            break
        content = nested
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__}, not a state dict")
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError("no tensors in it")
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _main() -> None:
    source, target = sys.argv[1:]
    state = plain_state(torch.load(source, map_location="cpu", weights_only=True))
    save_file(
        {key: value.clone(memory_format=torch.contiguous_format) for key, value in state.items()}, target
    )


if __name__ == "__main__":
    try:
        _main()
    except Exception as failure:  # noqa: BLE001 - told to the process that asked
        sys.exit(str(failure).splitlines()[0] if str(failure) else type(failure).__name__)
