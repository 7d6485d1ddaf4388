"""Loading what is slow, in a thread, and without hurting the window."""

import ctypes
import importlib
import importlib.util
import os
import sys
from pathlib import Path

from napari_mitoxai.common import Progress, ProgressCallback


def load_libraries(progress: ProgressCallback) -> None:
    """Import torch and matplotlib in the runner's thread, and leave the window a processor of its own.

    Importing either where it is first used would hold the window up for a second or more; computing with as many
    threads as there are processors makes it stutter for as long as the task runs.
    """
    progress(Progress("Starting", 0, 0, "loading the deep-learning libraries"))
    keep_llvms_apart()
    torch = importlib.import_module("torch")
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))
    importlib.import_module("matplotlib.backends.backend_qtagg")


# packages that bring an LLVM, and where in them it lies
_LLVMS = {"triton": "_C/libtriton*.so", "llvmlite": "binding/libllvmlite*.so"}


def keep_llvms_apart() -> bool:
    """Load Triton's and llvmlite's libraries so that they use their own LLVM; call this before torch or umap are imported.

    Mesa's OpenGL drivers load libLLVM; Triton, which torch imports, and llvmlite, which UMAP imports, hold other versions of
    LLVM. If the symbols of one are bound to the other, importing torch kills a process that has shown a napari window, and
    drawing kills one that has made a UMAP (Linux without a vendor's driver: Xvfb, remote desktops, many laptops). Loaded
    with ``RTLD_DEEPBIND``, a library prefers its own symbols; a later import finds it loaded.

    Returns
    -------
    bool
        Whether there was anything to do.
    """
    maps = Path("/proc/self/maps")
    if not hasattr(os, "RTLD_DEEPBIND") or "libLLVM" not in maps.read_text(errors="replace"):
        return False
    libraries = []
    for package, place in _LLVMS.items():
        spec = None if package in sys.modules else importlib.util.find_spec(package)
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        libraries += [library for folder in folders for library in Path(folder).glob(place)]
    for library in libraries:
        ctypes.CDLL(str(library), mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
    return bool(libraries)
