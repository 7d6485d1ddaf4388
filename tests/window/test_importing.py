"""Menus must open at once: what is slow to import waits until it is needed."""

import subprocess
import sys

import pytest

_SLOW = ("torch", "matplotlib", "lightning", "captum", "torchvision")


@pytest.mark.parametrize(
    "statement",
    [
        "import napari_mitoxai",
        "from npe2 import PluginManifest; PluginManifest.from_distribution('napari-mitoxai')",
        "import napari_mitoxai.napari.docks, napari_mitoxai.napari.reader, napari_mitoxai.napari.sample_data",
        "import napari_mitoxai.explain as e; [e.method(name) for name in e.available()]",
    ],
)
def test_nothing_slow_is_imported(statement):
    code = f"import sys; {statement}; print([name for name in {_SLOW} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_manifest_holds():
    import importlib

    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("napari-mitoxai")
    assert manifest.name == "napari-mitoxai"
    assert manifest.display_name == "MitoXAI"
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(importlib.import_module(module), name))
