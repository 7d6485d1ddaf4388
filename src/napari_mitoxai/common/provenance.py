"""Which software made a result."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from napari_mitoxai import __version__

_PACKAGES = ("torch", "torchvision", "lightning", "numpy", "matplotlib", "scikit-image", "tifffile", "zarr")


def software() -> dict[str, str]:
    """Versions of this package, of Python and of the libraries that results depend on."""
    versions = {
        "napari-mitoxai": __version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def now() -> str:
    """The time now, in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
