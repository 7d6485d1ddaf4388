"""`mitoxai embed`: patches laid out, and what the numbers say of people and disease."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from napari_mitoxai.cli import main
from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.tasks import embed
from napari_mitoxai.tasks.embed import EmbedParameters, read_embedding, run


@pytest.fixture(scope="module")
def laid_out(trained_run, simulated_cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("embedding") / "E"
    with pytest.raises(SystemExit, match="0"):
        main(
            ["embed", str(trained_run), str(simulated_cohort), "--method", "tsne", "--out", str(out),
             "--neighbours", "5", "--colour", "group", "use"]
        )  # fmt: skip
    return out


def test_every_patch_has_its_place_in_every_plot(laid_out, simulated_cohort):
    table = pd.read_csv(laid_out / "embedding.csv")
    assert list(table)[:9] == [
        "section",
        "subject",
        "group",
        "y_px",
        "x_px",
        "space",
        "method",
        "axis_1",
        "axis_2",
    ]
    patches = table.groupby(["space", "method"]).size()
    assert set(patches.index) == {("pixels", "tsne"), ("features", "tsne")}
    assert patches.iloc[0] == patches.iloc[1]
    assert set(table["subject"]) == {"C01", "C02", "C03", "P01", "P02", "P03"}
    assert set(table.loc[table["subject"].isin(["C03", "P03"]), "use"]) == {"test"}
    assert table[["y_px", "x_px"]].min().min() == 64  # the centre of a patch of 128 px at the corner
    opened, _, info = read_embedding(laid_out)
    assert set(opened["path"]) == {
        str((simulated_cohort.parent / f"{name}.ome.tiff").resolve()) for name in set(table["subject"])
    }
    assert info["patch_size"] == 128
    with Image.open(laid_out / "embedding.png") as image:
        assert np.asarray(image).std() > 10


def test_features_are_what_the_last_layer_reads(laid_out, trained_run, simulated_cohort):
    """Logits made by hand of the features are the network's."""
    import torch

    from napari_mitoxai.models import load_checkpoint
    from napari_mitoxai.training.penultimate import penultimate_features

    checkpoint = load_checkpoint(trained_run)
    network = checkpoint.model()
    inputs = np.random.default_rng(0).normal(size=(3, len(checkpoint.panel), 32, 32)).astype(np.float32)
    features = penultimate_features(network, inputs, 2)
    assert features.shape == (3, 512)
    logits = network.fc(torch.from_numpy(features))
    assert torch.allclose(logits, network(torch.from_numpy(inputs)), atol=1e-5)


@pytest.mark.parametrize("name", ["vgg16", "densenet121", "inception_v3", "resnet50v2", "xception"])
def test_features_of_other_networks(name):
    import torch

    from napari_mitoxai.models import create
    from napari_mitoxai.training.penultimate import penultimate_features

    torch.manual_seed(0)
    network = create(name, 3, 2).eval()
    side = 96 if name == "inception_v3" else 48
    inputs = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
    features = penultimate_features(network, inputs, 2)
    last = [m for m in network.modules() if getattr(m, "out_features", getattr(m, "out_channels", 0)) == 2][
        -1
    ]
    if isinstance(last, torch.nn.Conv2d):
        features = features[:, :, None, None]
    with torch.no_grad():
        logits = last(torch.from_numpy(features)).flatten(1)
        assert torch.allclose(logits, network(torch.from_numpy(inputs)), atol=1e-4)


def test_numbers_speak_of_people_and_of_groups(laid_out):
    numbers = pd.read_csv(laid_out / "neighbours.csv")
    assert set(numbers["measure"]) == {
        "subject_purity", "subject_silhouette", "group_purity", "group_silhouette",
    }  # fmt: skip
    assert set(numbers["subjects_asked"]) == {"all", "trained on", "held out"}
    own = numbers[(numbers["subjects_asked"] == "all") & (numbers["measure"] == "group_purity")]
    assert set(own["subjects"]) == {6}
    assert set(own["smallest_p"].round(6)) == {0.1}
    said = json.loads((laid_out / "embedding.json").read_text())["said"]
    assert "of the same subject" in said[0]
    assert "smallest possible 0.1" in said[1]


def test_the_same_seed_gives_the_same_files(laid_out, trained_run, simulated_cohort, tmp_path):
    again = tmp_path / "again"
    run(EmbedParameters(
        run=trained_run, sections=[simulated_cohort], methods=["tsne"], out=again, neighbours=5, colours=["group", "use"]
    ))  # fmt: skip
    columns = ["axis_1", "axis_2", "subject", "y_px"]
    assert pd.read_csv(again / "embedding.csv")[columns].equals(
        pd.read_csv(laid_out / "embedding.csv")[columns]
    )
    assert (again / "neighbours.csv").read_bytes() == (laid_out / "neighbours.csv").read_bytes()
    assert (again / "embedding.png").read_bytes() == (laid_out / "embedding.png").read_bytes()


def test_sections_without_a_cohort_and_fewer_patches(trained_run, simulated_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_mitoxai.trust.projection.umap_is_there", lambda: False)
    sections = [simulated_cohort.parent / f"{name}.ome.tiff" for name in ("C01", "P01")]
    result = run(
        EmbedParameters(run=trained_run, sections=sections, out=tmp_path / "E", overlap=0.7, most_patches=20)
    )
    table = pd.read_csv(result.table)
    assert table[table["space"] == "pixels"]["section"].value_counts().to_dict() == {"C01": 10, "P01": 10}
    assert set(table["method"]) == {"tsne"}
    assert any("pip install 'napari-mitoxai[embedding]'" in note for note in result.notes)
    with pytest.raises(MitoxaiError, match="umap-learn"):
        run(EmbedParameters(run=trained_run, sections=sections, methods=["umap"], out=tmp_path / "U"))


def test_refusals_come_before_the_work(laid_out, trained_run, simulated_cohort, tmp_path):
    def ask(**given):
        run(EmbedParameters(**{"run": trained_run, "sections": [simulated_cohort], "out": tmp_path / "E", **given}))  # fmt: skip

    with pytest.raises(MitoxaiError, match="exists already"):
        ask(out=laid_out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(MitoxaiError, match="is not an embedding"):
        ask(out=tmp_path / "mine", overwrite=True)
    with pytest.raises(MitoxaiError, match="no column 'genotype'"):
        ask(colours=["genotype"], methods=["tsne"])
    assert not (tmp_path / "E").exists()
    with pytest.raises(ValueError, match="no method 'pca'"):
        EmbedParameters(run=trained_run, sections=[simulated_cohort], out=tmp_path, methods=["pca"])


def test_quotas_are_even_and_leave_nobody_out():
    from napari_mitoxai.tasks.embed_vectors import _quotas

    assert _quotas([3, 100, 50], 30) == [3, 14, 13] or sum(_quotas([3, 100, 50], 30)) == 30
    assert _quotas([3, 100, 50], 1000) == [3, 100, 50]
    assert _quotas([5, 5, 5], 2) == [1, 1, 1]
    assert embed.METHODS == ("tsne", "umap")
