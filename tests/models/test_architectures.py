import urllib.request
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.models import available, create
from napari_mitoxai.models.architectures import first_convolution

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {"resnet18", "efficientnet_b0", "densenet121", "resnet50v2"}
SIDE = {"inception_v3": 96, "xception": 96, "inception_resnet_v2": 96}


def test_the_names():
    assert len(available()) == len(set(available())) >= 10
    assert {"resnet18", "resnet50", "vgg16", "inception_v3", "densenet121"} <= set(available())


@pytest.mark.parametrize("channels", [1, 3, 10])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in available()]
)
def test_every_architecture_takes_any_channels_and_gives_a_logit_a_class(name, channels):
    torch.manual_seed(0)
    model = create(name, channels, 3)
    assert model.training
    side = SIDE.get(name, 64)
    with torch.no_grad():
        logits = model(torch.randn(2, channels, side, side))
    assert logits.shape == (2, 3)
    assert torch.isfinite(logits).all()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A ResNet18 with 1000 classes and 3 channels, as ImageNet weights are, in a safetensors file."""
    torch.manual_seed(1)
    state = create("resnet18", 3, 1000).state_dict()
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(state, path)
    return path, state


def test_pretrained_kernels_are_kept_for_three_channels_and_averaged_for_the_others(weights):
    path, state = weights
    model = create("resnet18", 5, 2, weights=path)
    kernels = first_convolution(model)[1].weight
    old = state["conv1.weight"]
    assert torch.equal(kernels[:, :3], old)
    for extra in (3, 4):
        torch.testing.assert_close(kernels[:, extra], old.mean(1))
    own = model.state_dict()
    assert torch.equal(own["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert own["fc.weight"].shape == (2, 512)


def test_one_channel_is_read_as_if_copied_three_times_and_three_stay(weights):
    path, state = weights
    one = first_convolution(create("resnet18", 1, 2, weights=str(path)))[1]
    three = first_convolution(create("resnet18", 3, 2, weights=str(path)))[1]
    torch.manual_seed(0)
    plane = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(one(plane), three(plane.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    three = first_convolution(create("resnet18", 3, 2, weights=path))[1].weight
    assert torch.equal(three, state["conv1.weight"])


@pytest.mark.parametrize("channels", [1, 3, 10])
def test_mean_scaled_kernels_keep_the_size_of_activations(weights, channels):
    path, _ = weights
    adapted = first_convolution(create("resnet18", channels, 2, weights=path, adaptation="mean-scaled"))[1]
    papers = first_convolution(create("resnet18", 3, 2, weights=path))[1]
    alike = torch.ones(1, 1, 16, 16)
    torch.testing.assert_close(
        adapted(alike.expand(-1, channels, -1, -1)), papers(alike.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", available())
def test_the_dense_head_fits_every_architecture(name):
    with torch.device("meta"):
        model = create(name, 4, 3, head="dense")
    units = [layer.out_features for layer in model.head if isinstance(layer, torch.nn.Linear)]
    assert units == [2048, 1024, 512, 256, 128, 3]
    assert [layer.p for layer in model.head if isinstance(layer, torch.nn.Dropout)] == [0.5]
    assert model(torch.zeros(2, 4, 128, 128, device="meta")).shape == (2, 3)


def test_random_kernels_for_more_channels_have_no_pattern_of_means():
    torch.manual_seed(0)
    kernels = first_convolution(create("resnet18", 5, 2))[1].weight
    assert not torch.allclose(kernels[:, 3], kernels[:, 4])


def test_weights_of_another_architecture_damaged_missing_or_pickled(weights, tmp_path):
    path, _ = weights
    with pytest.raises(MitoxaiError, match="The weights do not fit densenet121"):
        create("densenet121", 3, 2, weights=path)
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MitoxaiError, match=r"cut\.safetensors is not a readable safetensors file"):
        create("resnet18", 3, 2, weights=tmp_path / "cut.safetensors")
    with pytest.raises(MitoxaiError, match="is not there"):
        create("resnet18", 3, 2, weights=tmp_path / "none.safetensors")
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (ran.touch, ())

    torch.save({"a": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(MitoxaiError, match="can run code"):
        create("resnet18", 3, 2, weights=tmp_path / "trap.pth")
    assert not ran.exists()


def test_an_unknown_architecture_lists_what_there_is():
    with pytest.raises(MitoxaiError, match=r"no architecture 'resnet19': choose one of .*resnet18"):
        create("resnet19", 3, 2)


def test_imagenet_without_a_network_is_one_sentence(monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setattr(torch.hub, "urlopen", offline, raising=False)
    torch_home = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))  # an empty cache
    try:
        with pytest.raises(
            MitoxaiError, match=r"ImageNet weights of resnet18 cannot be downloaded.*random weights"
        ):
            create("resnet18", 3, 2, weights="imagenet")
    finally:
        torch.hub.set_dir(torch_home)
