"""Letting torch's compiler and the window's OpenGL driver live in one process."""

import ctypes
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path


@cache
def keep_llvms_apart() -> bool:
    """Load Triton's library so that it uses its own LLVM; call this before torch is imported.

    Mesa's OpenGL drivers load libLLVM, and Triton, which torch imports, holds another version of LLVM. If the symbols
    of one are bound to the other, importing torch kills a process that has shown a napari window (Linux without a
    vendor's driver: Xvfb, remote desktops, many laptops). Loaded with ``RTLD_DEEPBIND``, a library prefers its own
    symbols; a later import finds it loaded.

    Returns
    -------
    bool
        Whether there was anything to do.
    """
    maps = Path("/proc/self/maps")
    if "triton" in sys.modules or not hasattr(os, "RTLD_DEEPBIND") or "libLLVM" not in maps.read_text(errors="replace"):
        return False
    spec = importlib.util.find_spec("triton")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    libraries = [library for folder in folders for library in Path(folder, "_C").glob("libtriton*.so")]
    for library in libraries:
        ctypes.CDLL(str(library), mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
    return bool(libraries)
