import json
import subprocess
import sys

import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import available, method, resolve


def test_the_menu_is_known_without_torch():
    code = (
        "import sys, napari_mitoxai; from napari_mitoxai.explain import available, method, resolve; "
        "names = available(); [method(n).defaults() for n in names]; print(len(names)); "
        "assert not {'torch', 'zarr', 'matplotlib'} & set(sys.modules), 'heavy import'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(available())


@pytest.mark.parametrize("name", available())
def test_every_method_says_what_it_is_and_exists(name):
    entry = method(name)
    assert entry.name == name
    assert entry.title
    assert entry.source
    assert entry.description.endswith(".")
    assert callable(entry.function())
    for field in entry.parameters.model_fields.values():
        assert field.title
        assert field.description


def test_an_unknown_method_is_refused_with_a_list():
    with pytest.raises(MitoxaiError, match=r"'saliency'.*gradient.*lrp_epsilon"):
        method("saliency")


def test_parameters_are_checked():
    assert method("lrp_epsilon").configure(epsilon=1).epsilon == 1
    with pytest.raises(
        MitoxaiError, match=r"lrp_epsilon has no parameter 'eps': choose from epsilon, relative"
    ):
        method("lrp_epsilon").configure(eps=1)
    with pytest.raises(MitoxaiError, match="gradient has no parameter"):
        method("gradient").configure(epsilon=1)
    for value in (-1, "much", float("nan")):
        with pytest.raises(MitoxaiError, match="epsilon of lrp_epsilon cannot be"):
            method("lrp_epsilon").configure(epsilon=value)


def test_a_preset_is_other_settings_by_name():
    entry, parameters = resolve("lrp_epsilon@seed-exact")
    assert entry is method("lrp_epsilon")
    assert (parameters.epsilon, parameters.mode, parameters.relative) == (1.0, "innvestigate", False)
    assert resolve("lrp_epsilon@seed-exact", epsilon=2)[1].epsilon == 2
    with pytest.raises(MitoxaiError, match="'exact': choose from lrp_epsilon@seed-exact"):
        resolve("lrp_epsilon@exact")
    with pytest.raises(MitoxaiError, match="it has none"):
        resolve("gradient@seed-exact")


@pytest.mark.parametrize("name", available())
def test_every_preset_is_valid_and_changes_something(name):
    entry = method(name)
    for preset in entry.presets:
        assert resolve(f"{name}@{preset}")[1] != entry.configure()


OTHER_PACKAGE = """
from napari_mitoxai.explain import Method, MethodParameters

DOUBLED = Method(
    name="doubled", title="Doubled", description="Twice the gradient.", source="nobody", signed=True, per_channel=True,
    implementation="other_package.doubled:doubled",
)
TAKEN = Method(
    name="gradient", title="Ours", description="Not the gradient.", source="nobody", signed=True, per_channel=True,
    implementation="other_package.doubled:doubled",
)
NOTHING = 3
"""
OTHER_FUNCTION = """
def doubled(question, parameters):
    return 2 * question.gradient
"""
POINTS = """
[napari_mitoxai.explainers]
doubled = other_package:DOUBLED
gradient = other_package:TAKEN
missing = other_package:MISSING
nothing = other_package:NOTHING
"""


def test_a_method_of_another_installed_package_is_one_of_ours(tmp_path):
    (tmp_path / "other_package").mkdir()
    (tmp_path / "other_package" / "__init__.py").write_text(OTHER_PACKAGE)
    (tmp_path / "other_package" / "doubled.py").write_text(OTHER_FUNCTION)
    information = tmp_path / "other_package-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(POINTS)
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); from napari_mitoxai import explain; "
        "names, faults = explain.available(), explain.faults(); assert 'torch' not in sys.modules; import torch; "
        "network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2)); x = torch.rand(1, 2, 2, 2); "
        "maps = explain.attribute_many(network, x, ['gradient', 'doubled']).maps; "
        "print(json.dumps([names, faults, bool((maps['doubled'] == 2 * maps['gradient']).all())]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names, faults, doubled = json.loads(done.stdout)
    assert names == [*available(), "doubled"]
    assert doubled
    assert len(faults) == 3
    assert "'gradient' of other-package has the name of another one" in faults[0]
    assert "'missing' of other-package cannot be loaded" in faults[1]
    assert "'nothing' of other-package is no" in faults[2]
