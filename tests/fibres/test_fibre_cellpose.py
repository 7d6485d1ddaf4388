"""The real Cellpose package, with a network whose answer is known: its files, scaling, tiles and flow dynamics are its own."""

import numpy as np
import pytest
from skimage.measure import label
from skimage.segmentation import find_boundaries

from napari_mitoxai import simulate
from napari_mitoxai.fibres import match
from napari_mitoxai.fibres.cellpose import segment_cellpose
from napari_mitoxai.imc import read_labels

models = pytest.importorskip("cellpose.models", reason="the extra cellpose is not installed")
torch = pytest.importorskip("torch")


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A model file of a network that answers each tile with the flows of its bright places."""
    from cellpose.dynamics import labels_to_flows
    from cellpose.vit import BaseModel

    class Knowing(BaseModel):
        backbone = "sam_vitl"

        def __init__(self, dtype=torch.float32):
            super().__init__(dtype=dtype)
            self.W2 = torch.nn.Parameter(torch.zeros(1))  # by which Cellpose knows its files

        def forward(self, tiles):
            places = [label(tile[0] > self.W2.item(), connectivity=1) for tile in tiles.float().numpy()]
            flows = np.stack([flow[1:] for flow in labels_to_flows(places)])
            # as in training: flows five times their size, and what is inside as a logit
            answer = np.concatenate([5 * flows[:, 1:], 10 * flows[:, :1] - 5], axis=1)
            return torch.from_numpy(answer.astype(np.float32)), torch.zeros(len(tiles), 256)

    monkeypatch.setattr(models, "CPSAM", Knowing)
    path = tmp_path / "model"
    torch.save(Knowing().state_dict() | {"W2": torch.tensor([0.5])}, path)
    return path


def membrane_of(fibres):
    """What separates the fibres, two pixels wide and bright; and the fibres without it."""
    bright = (fibres == 0) | find_boundaries(fibres, mode="thick")
    return np.where(bright, 8.0, 0.2), np.where(bright, 0, fibres)


def test_cellpose_gives_back_the_fibres_that_its_network_knows(weights):
    membrane, fibres = membrane_of(simulate.section(size=(420, 560), seed=2, fibre_size_um=60).fibres)
    found = segment_cellpose(membrane, weights=weights, pixel_size_um=1.25, fibre_size_um=60.0)
    assert found.dtype == np.int32
    assert found.shape == membrane.shape
    same = match(found, fibres)
    assert same.f1 > 0.97
    assert same.mean_iou > 0.9


@pytest.mark.slow
def test_cellpose_gives_back_the_fibres_of_a_real_section(weights, real_data):
    labels = read_labels(real_data / "warren2020" / "P03_instance_mask.tiff")[900:1700, 1200:2200]
    membrane, fibres = membrane_of(labels)
    same = match(segment_cellpose(membrane, weights=weights), fibres)
    assert same.f1 > 0.95
