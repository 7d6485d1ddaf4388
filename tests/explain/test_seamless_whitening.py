"""The seamless mode reads a whitened layer as the convolution that it is in evaluation."""

import copy

import numpy as np
import pytest
import torch
from test_seamless import METHODS, WINDOW, answer, picture, small_net

from napari_mitoxai.explain.seamless_network import SeamlessNetwork
from napari_mitoxai.models import ConceptWhitening

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_whitened_layer_is_its_folded_convolution():
    whitened = small_net()
    layer = ConceptWhitening(6)
    torch.manual_seed(1)
    layer.rotation.copy_(torch.linalg.qr(torch.randn(6, 6))[0])
    whitened.left[1] = layer
    whitened.train()
    with torch.no_grad():
        for _ in range(4):
            whitened(torch.randn(8, 2, 32, 32) + 1)
    whitened.eval()
    folded = copy.deepcopy(whitened)
    folded.left[1] = layer.folded()
    image = picture()
    (maps, logits), (own_maps, own_logits) = (
        answer(SeamlessNetwork(network, 2, WINDOW), image, methods=METHODS) for network in (whitened, folded)
    )
    np.testing.assert_allclose(logits, own_logits, rtol=1e-4, atol=1e-5)
    for name in METHODS:
        np.testing.assert_allclose(maps[name], own_maps[name], rtol=1e-3, atol=1e-5, err_msg=name)
