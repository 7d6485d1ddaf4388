import subprocess
import sys

import pytest

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import available, method


def test_the_menu_is_known_without_torch():
    code = (
        "import sys, napari_mitoxai; from napari_mitoxai.explain import available, method; "
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
