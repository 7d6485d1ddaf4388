"""The demonstration proves itself on three seeds: subjects it has not seen, relevance where the truth is."""

import json

import pytest

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.tasks.demo import DemoParameters, run


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demonstration_proves_itself(tmp_path, seed):
    result = run(DemoParameters(out=tmp_path / "demo", seed=seed))
    assert len(result.subject_calls) >= 4
    assert {call["group"] for call in result.subject_calls} == {"control", "patient"}
    assert [call["call"] for call in result.subject_calls] == [call["group"] for call in result.subject_calls]
    assert 0 < result.area_of_truth < 0.5
    assert result.relevance_in_truth >= 2 * result.area_of_truth
    assert result.fibres > 20
    for path in result.files.values():
        assert path.exists()
    for name in ("figure.png", "figure.pdf", "figure.json"):
        assert (tmp_path / "demo" / name).stat().st_size > 1000
    assert json.loads((tmp_path / "demo" / "figure.json").read_text())["spec"]
    text = "\n".join(result.lines)
    assert str(result.files["figure"]) in text
    assert "mitoxai" in text


def test_an_earlier_demonstration_is_kept(tmp_path):
    (tmp_path / "figure.png").write_bytes(b"mine")
    with pytest.raises(MitoxaiError, match=r"figure\.png exists already"):
        run(DemoParameters(out=tmp_path))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "figure.png"]


def test_cancelling_the_demonstration(tmp_path):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        run(DemoParameters(out=tmp_path / "demo"), cancel=token)
    assert not (tmp_path / "demo" / "figure.png").exists()
