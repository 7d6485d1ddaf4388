import shlex

import pytest

from napari_mitoxai.common.commands import as_typed


@pytest.mark.skipif("sys.platform == 'win32'", reason="another shell")
def test_a_command_can_be_pasted():
    words = ["mitoxai", "explain", "Müller Lab/run 1", "it's.tiff", "--where", "subject!=P03"]
    assert shlex.split(as_typed(*words)) == words
    assert as_typed("mitoxai", "train", "COHORT.csv") == "mitoxai train COHORT.csv"
