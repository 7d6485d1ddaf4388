"""What can be asked about a section: other classes and scores, pooled channels, presets, the seamless mode."""

import dataclasses

import numpy as np
import pytest
import torch
from small_sections import Blocks, checkpoint_of, explain_section, section_of, tissue

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.explain import Request, attribute_many

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def checkpoint():
    return checkpoint_of(patch=64, target=32)


@pytest.fixture(scope="module")
def section():
    return section_of(tissue(64, 64))


def patch_of(section, checkpoint):
    counts = section.read().reshape(3, 32, 2, 32, 2).mean((2, 4), dtype=np.float32)
    return torch.from_numpy(checkpoint.scaling(counts))[None]


def explained(section, checkpoint, tmp_path, methods, **asked):
    return explain_section(section, checkpoint, methods, tmp_path / "m.ome.zarr", **asked)


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize(
    ("asked", "given", "said"),
    [
        ({"target": "control"}, {"target": 0}, "control"),
        ({"against": "control"}, {"target": 1, "against": 0}, "patient - control"),
        ({"output": "probability"}, {"target": 1, "output": "probability"}, "patient (probability)"),
    ],
)
def test_other_scores(section, checkpoint, tmp_path, asked, given, said):
    store = explained(section, checkpoint, tmp_path, ["gradient"], **asked)
    assert store.info["target"] == said
    target = given.pop("target")
    expected = attribute_many(
        checkpoint.model(), patch_of(section, checkpoint), ["gradient"], target, **given
    )
    close(store.read("gradient"), expected.maps["gradient"][0].numpy())


def test_the_class_that_the_model_calls_the_section(checkpoint, tmp_path):
    wide = section_of(tissue(128, 192))
    store = explained(wide, checkpoint, tmp_path, ["gradient"], target="predicted")
    called = store.info["verdict"]["call"]
    assert store.info["target"] == called
    named = explain_section(wide, checkpoint, ["gradient"], tmp_path / "n.ome.zarr", target=called)
    close(store.read("gradient"), named.read("gradient"))
    assert store.patch_probabilities().keys() == named.patch_probabilities().keys()


def test_a_cancelled_question_is_not_asked_again(checkpoint, tmp_path):
    wide, token, asked = section_of(tissue(128, 192)), CancelToken(), []

    def once(report):
        if report.stage == "Explaining":
            token.cancel()

    with pytest.raises(Cancelled):
        explained(wide, checkpoint, tmp_path, ["gradient"], target="predicted", progress=once, cancel=token)
    explained(
        wide,
        checkpoint,
        tmp_path,
        ["gradient"],
        target="predicted",
        progress=lambda report: asked.append(report.stage),
    )
    assert "Asking the model" not in asked
    assert "Explaining" in asked


def test_the_true_class_is_the_group_of_the_section(section, checkpoint, tmp_path):
    known = dataclasses.replace(section, group="control")
    assert explained(known, checkpoint, tmp_path, ["gradient"], target="true").info["target"] == "control"
    for unknown in (section, dataclasses.replace(section, group="unclear")):
        with pytest.raises(MitoxaiError, match=r"The true class of S is not known .*--target patient"):
            explain_section(unknown, checkpoint, ["gradient"], tmp_path / "n.ome.zarr", target="true")


def test_a_class_is_not_compared_with_itself(section, checkpoint, tmp_path):
    with pytest.raises(MitoxaiError, match="patient cannot be compared with itself"):
        explained(section, checkpoint, tmp_path, ["gradient"], against="patient")


@pytest.mark.parametrize("pooling", ["sum", "sum_abs", "max_abs", "norm"])
def test_pooled_channels_are_those_of_the_whole_map_pooled(checkpoint, tmp_path, pooling):
    wide = section_of(tissue(128, 192))
    each = explain_section(wide, checkpoint, ["gradient", "grad_cam"], tmp_path / "n.ome.zarr")
    pooled = explained(wide, checkpoint, tmp_path, ["gradient", "grad_cam"], pooling=pooling)
    values = each.read("gradient")
    expected = {
        "sum": values.sum(0), "sum_abs": np.abs(values).sum(0), "max_abs": np.abs(values).max(0),
        "norm": np.linalg.norm(values, axis=0),
    }[pooling]  # fmt: skip
    assert pooled.read("gradient").shape == (1, 64, 96)
    close(pooled.read("gradient")[0], expected)
    assert pooled.signed("gradient") == (pooling == "sum")
    assert len(pooled.channels("gradient")) == 1
    close(pooled.read("grad_cam"), each.read("grad_cam"))  # has one plane anyway
    assert pooled.channels("grad_cam") == ["all channels"]


def test_presets_and_parameters_side_by_side(section, checkpoint, tmp_path):
    methods = {
        "lrp_epsilon": {"epsilon": 0.1}, "lrp_epsilon@seed-exact": {}, "occlusion": {"per_channel": True, "window": 32, "stride": 32},
        "smoothgrad": {"squared": True, "samples": 2},
    }  # fmt: skip
    store = explained(section, checkpoint, tmp_path, methods)
    assert store.methods == list(methods)
    assert store.info["methods"]["lrp_epsilon@seed-exact"]["parameters"]["epsilon"] == 1.0
    assert store.channels("occlusion") == ["SDHA", "NDUFB8", "Dystrophin"]
    assert store.read("occlusion").shape == (3, 32, 32)
    assert not store.signed("smoothgrad")
    expected = attribute_many(checkpoint.model(), patch_of(section, checkpoint), methods, 1).maps
    for label in methods:
        close(store.read(label), expected[label][0].numpy())
    assert np.abs(store.read("lrp_epsilon") - store.read("lrp_epsilon@seed-exact")).max() > 0


def test_a_method_without_meaning_for_the_network_is_left_out_and_the_others_made(section, tmp_path):
    checkpoint = checkpoint_of(patch=64, target=32, architecture="efficientnet_b0")
    store = explained(section, checkpoint, tmp_path, ["gradient", "guided_backprop"])
    assert store.methods == ["gradient"]
    assert "no ReLU" in store.left_out["guided_backprop"] or "has none" in store.left_out["guided_backprop"]
    assert not (store.path / "guided_backprop").exists()
    with pytest.raises(MitoxaiError, match="guided_backprop"):
        explain_section(section, checkpoint, ["guided_backprop"], tmp_path / "n.ome.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.ome.zarr"]


# --- the seamless mode -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def larger():
    """A classifier whose patches have a feature map of more than one cell."""
    return checkpoint_of(patch=128, target=64)


@pytest.fixture(scope="module")
def wide():
    counts = np.zeros((3, 400, 1000), np.uint16)
    counts[:, :, :700] = tissue(400, 700)
    return section_of(counts)


def test_the_seamless_mode_says_that_it_is_and_background_stays_empty(wide, larger, tmp_path):
    store = explained(wide, larger, tmp_path, ["gradient", "grad_cam"], approach="seamless")
    patches = explain_section(wide, larger, ["gradient", "grad_cam"], tmp_path / "n.ome.zarr")
    assert (store.info["approach"], patches.info["approach"]) == ("seamless", "patches")
    assert store.grid == patches.grid
    for name in store.methods:
        values = store.read(name)
        assert values.shape == patches.read(name).shape
        assert values[:, :, :300].any()
        assert not values[:, :, 430:].any()
    assert store.info["verdict"]["patches"] == len(store.patch_probabilities()) > 50
    np.testing.assert_allclose([sum(row) for row in store.patch_probabilities().values()], 1, atol=1e-4)


def test_the_seamless_mode_says_where_patches_are_quicker(wide, larger, tmp_path, monkeypatch):
    assert explained(wide, larger, tmp_path, ["gradient"], approach="seamless").info["notes"] == []
    monkeypatch.setattr("napari_mitoxai.explain.seamless_network.SeamlessNetwork.saving", lambda *_: 0.5)
    (note,) = explain_section(wide, larger, ["gradient"], tmp_path / "n.ome.zarr", approach="seamless").info[
        "notes"
    ]
    assert "computes 2.0 times as many pixels here as patch by patch" in note


def test_a_cancelled_seamless_run_goes_on(larger, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "napari_mitoxai.explain.seamless.explain_blocks.__kwdefaults__",
        {"side": 512, "tile": 128, "finished": frozenset()},
    )
    wide = section_of(tissue(300, 2000))
    whole = explain_section(wide, larger, ["gradient"], tmp_path / "n.ome.zarr", approach="seamless")
    token = CancelToken()
    first, second = Blocks(lambda region: token.cancel()), Blocks()
    with pytest.raises(Cancelled):
        explained(wide, larger, tmp_path, ["gradient"], approach="seamless", watcher=first, cancel=token)
    store = explained(wide, larger, tmp_path, ["gradient"], approach="seamless", watcher=second)
    assert first.regions
    assert not {str(region) for region, _ in first.regions} & {str(region) for region, _ in second.regions}
    close(store.read("gradient"), whole.read("gradient"))
    assert store.patch_probabilities().keys() == whole.patch_probabilities().keys()


def test_the_seamless_mode_of_the_class_it_calls(wide, larger, tmp_path):
    store = explained(wide, larger, tmp_path, ["gradient"], approach="seamless", target="predicted")
    assert store.info["target"] in ("control", "patient")


@pytest.mark.parametrize(
    ("methods", "asked", "sentence"),
    [
        (["lrp_epsilon"], {}, "does not have lrp_epsilon: choose of gradient"),
        (["gradient"], {"output": "probability"}, "explains logits"),
        (["integrated_gradients", "integrated_gradients@seed-exact"], {}, "has each method once"),
    ],
)
def test_what_the_seamless_mode_cannot_do(wide, larger, tmp_path, methods, asked, sentence):
    with pytest.raises(MitoxaiError, match=sentence):
        explained(wide, larger, tmp_path, methods, approach="seamless", **asked)
    assert list(tmp_path.iterdir()) == []


def test_grad_cam_on_a_single_cell_is_refused_before_anything_is_written(wide, checkpoint, tmp_path):
    with pytest.raises(MitoxaiError, match="larger than one cell"):
        explained(wide, checkpoint, tmp_path, ["grad_cam"], approach="seamless")
    assert list(tmp_path.iterdir()) == []


def test_a_request_is_checked_before_anything_is_read():
    with pytest.raises(MitoxaiError, match="no parameter 'eps'"):
        Request({"lrp_epsilon": {"eps": 1}}).wanted()


def test_a_method_that_fails_late_leaves_the_others_whole(checkpoint, tmp_path, monkeypatch):
    from napari_mitoxai.explain import Unsuitable, rectifiers

    wide, calls, back = section_of(tissue(160, 300)), [], rectifiers.guided_backprop

    def late(question, parameters):
        calls.append(1)
        if len(calls) == 3:
            raise Unsuitable("It grew beyond all numbers.")
        return back(question, parameters)

    monkeypatch.setattr(rectifiers, "guided_backprop", late)
    store = explained(wide, checkpoint, tmp_path, ["guided_backprop", "gradient"], batch_size=4)
    assert store.left_out == {"guided_backprop": "It grew beyond all numbers."}
    assert store.methods == ["gradient"]
    alone = explain_section(wide, checkpoint, ["gradient"], tmp_path / "n.ome.zarr", batch_size=4)
    close(store.read("gradient"), alone.read("gradient"))
