import pytest
import torch
import torch.nn.functional as F
import torchvision
from captum.attr import LayerGradCam, Saliency
from small_networks import error, vgg_like
from torch import nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain import attribute, attribute_many


def by_captum(net, layer, x, target=1):
    coarse = LayerGradCam(net, layer).attribute(x.clone(), target=target, relu_attributions=True).detach()
    return F.interpolate(coarse, size=x.shape[2:], mode="bilinear", align_corners=False)


def test_saliency_and_the_default_layer_equal_captum_on_a_plain_network():
    net, x = vgg_like(), torch.randn(2, 3, 32, 32)
    assert torch.equal(
        attribute(net, x, "gradient"), Saliency(net).attribute(x.clone().requires_grad_(), 1, abs=False)
    )
    assert error(attribute(net, x, "grad_cam"), by_captum(net, net[6], x)) < 1e-6


# what is last before pooling, flattening or classifying; modules in place are recorded by captum before their change
LAST = {
    "vgg11": (lambda net: net.features[19], 64),
    "resnet18": (lambda net: net.layer4, 64),
    "densenet121": (None, 64),
    "efficientnet_b0": (lambda net: net.features, 64),
    "inception_v3": (lambda net: net.Mixed_7c, 128),
}


@pytest.mark.parametrize("name", LAST)
def test_the_last_feature_map_is_found_in_real_architectures(name):
    torch.manual_seed(0)
    layer, size = LAST[name]
    options = {"init_weights": False, "aux_logits": False} if name == "inception_v3" else {}
    net = torchvision.models.get_model(name, weights=None, num_classes=2, **options).eval()
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        net(x)
    ours = attribute_many(net, x, ["grad_cam"], [0]).maps["grad_cam"] + attribute(net, x, "grad_cam", 1)
    if layer is not None:
        theirs = by_captum(net, layer(net), x, 0) + by_captum(net, layer(net), x, 1)
    else:  # DenseNet: a functional ReLU after the last norm
        weights = net.classifier.weight.detach()
        maps = F.relu(net.features(x)).detach()
        coarse = (
            (torch.einsum("kc,ncyx->nkyx", weights, maps) / maps[0, 0].numel())
            .clamp(min=0)
            .sum(1, keepdim=True)
        )
        theirs = F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    assert theirs.max() > 0
    assert error(ours, theirs) < 1e-5


def test_relu_in_place_after_the_last_convolution_is_part_of_the_map():
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    apart, in_place = (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=flag), *head) for flag in (False, True)
    )
    in_place.load_state_dict(apart.state_dict())
    x = torch.randn(2, 3, 9, 9)
    assert error(attribute(in_place, x, "grad_cam", 0), attribute(apart, x, "grad_cam", 0)) == 0
    with torch.no_grad():  # closed form of global average pooling and a linear head
        maps = apart[1](apart[0](x))
        coarse = (
            torch.einsum("c,ncyx->nyx", apart[4].weight[0], maps)[:, None].clamp(min=0) / maps[0, 0].numel()
        )
    expected = F.interpolate(coarse, size=(9, 9), mode="bilinear", align_corners=False)
    assert error(attribute(apart, x, "grad_cam", 0), expected) < 1e-6


def test_a_pool_that_keeps_the_size_is_not_a_feature_map():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=1, padding=1),
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),
        nn.Linear(196, 2),
    )
    x = torch.randn(2, 3, 9, 9)
    assert error(attribute(net, x, "grad_cam"), attribute(net, x, "grad_cam", layer="1")) < 1e-6
    assert error(attribute(net, x, "grad_cam"), attribute(net, x, "grad_cam", layer="2")) > 0.01


def test_a_layer_can_be_named():
    net, x = vgg_like(), torch.randn(2, 3, 32, 32)
    assert error(attribute(net, x, "grad_cam", layer="2"), by_captum(net, net[2], x)) < 1e-6
    assert not net[2]._forward_hooks
    with pytest.raises(MitoxaiError, match=r"no layer 'layer4'.* 0, 2, 5"):
        attribute(net, x, "grad_cam", layer="layer4")
    with pytest.raises(MitoxaiError, match="does not give a feature map"):
        attribute(net, x, "grad_cam", layer="9")


def test_a_network_without_feature_map_is_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with pytest.raises(MitoxaiError, match="feature map"):
        attribute(net, torch.randn(1, 3, 4, 4), "grad_cam")


def test_a_layer_that_the_scores_do_not_depend_on_is_refused():
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.aside, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            self.aside(x)
            return self.head(self.used(x).mean((2, 3)))

    for methods in (["grad_cam"], ["grad_cam", "gradient"]):
        asked = {name: {"layer": "aside"} if name == "grad_cam" else {} for name in methods}
        with pytest.raises(MitoxaiError, match="depend on the input"):
            attribute_many(Aside().eval(), torch.randn(1, 3, 8, 8), asked)
