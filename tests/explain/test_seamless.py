"""The seamless mode: what the definition says, whatever the blocks; refused where the definition does not hold."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import RandomNet, SmoothNet, settled, vgg_like
from torch import nn

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.explain import attribute_many
from napari_mitoxai.explain.blending import blending_window
from napari_mitoxai.explain.feature_grid import trace
from napari_mitoxai.explain.seamless import configured, explain_blocks, seamless_methods
from napari_mitoxai.explain.seamless_network import SeamlessNetwork
from napari_mitoxai.models import CancellingMode, create

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS = {"gradient": {}, "input_x_gradient": {}, "integrated_gradients": {"steps": 3}, "grad_cam": {}}
WINDOW = 16


def layer(i, o, stride=1, kernel=3, padding=1):
    return [nn.Conv2d(i, o, kernel, stride, padding, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]


class SmallNet(nn.Module):
    """Stride 4, a skip and a concatenation, reach 7; a global mean and a linear map, or what is given for them."""

    def __init__(self, channels=2, head=None, padding=1):
        super().__init__()
        self.stem = nn.Sequential(*layer(channels, 6, 2, padding=padding), nn.MaxPool2d(3, 2, padding))
        self.left, self.right = nn.Sequential(*layer(6, 6)), nn.Sequential(*layer(6, 6))
        self.head = head or nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3))

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(self.left(x) - 0.3 * self.right(x) + x)
        return self.head(torch.cat([x, self.right(x)], 1))


def small_net(seed=0, channels=2, **options):
    torch.manual_seed(seed)
    return settled(SmallNet(channels, **options), channels, size=WINDOW).requires_grad_(False)


def picture(height=70, width=93, channels=2, seed=0):
    return np.random.default_rng(seed).normal(size=(channels, height, width)).astype(np.float32)


def answer(network, image, corners=None, methods=METHODS, target=1, **options):
    """Whole maps, nan where no tile came, and the logits of the windows."""
    shape = image.shape[1:]
    corners = network.corners(shape) if corners is None else corners
    tile = options.setdefault("tile", 32)
    maps = {name: np.full((1 if name == "grad_cam" else len(image), *shape), np.nan) for name in methods}
    logits, seen = {}, []
    for part in explain_blocks(
        network, lambda y, x: image[:, y, x], shape, corners, methods, target, **options
    ):
        logits |= dict(zip(part.corners, part.logits, strict=True))
        for (row, column), values in part.tiles.items():
            seen.append((row, column))
            for name in methods:
                y, x = row * tile, column * tile
                maps[name][:, y : y + values[name].shape[1], x : x + values[name].shape[2]] = values[name]
    assert len(seen) == len(set(seen))  # a tile is given once
    return maps, np.array([logits[corner] for corner in corners])


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.fixture(scope="module")
def network():
    return SeamlessNetwork(small_net(), 2, WINDOW)


@pytest.fixture(scope="module")
def whole(network):
    return answer(network, picture())


def test_one_window_is_the_patch():
    for model, channels, window in (
        (small_net(), 2, 16),
        (create("resnet18", 3, 2).eval().requires_grad_(False), 3, 64),
        (vgg_like().requires_grad_(False), 3, 32),
    ):
        image = picture(window, window, channels)
        maps, logits = answer(SeamlessNetwork(model, channels, window), image)
        expected = attribute_many(model, image[None], METHODS, 1)
        close(logits, expected.logits.numpy())
        for name in METHODS:
            close(maps[name], expected.maps[name][0].numpy())


@pytest.mark.parametrize(
    "head",
    [
        None,
        nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5), nn.Softplus(), nn.Linear(5, 3)
        ),
        nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 3)),
    ],
)
def test_the_map_is_what_the_definition_says(head):
    model, image = small_net(head=head), picture(48, 52)
    network = SeamlessNetwork(model, 2, WINDOW)
    corners = network.corners(image.shape[1:])
    maps, logits = answer(network, image, corners)
    found = []
    x = torch.from_numpy(image[None]).requires_grad_()
    # the body and the head apart, without any of our code
    stem = model.stem(x)
    joined = F.relu(model.left(stem) - 0.3 * model.right(stem) + stem)
    features = torch.cat([joined, model.right(joined)], 1)
    h = torch.from_numpy(blending_window(4))
    total = torch.zeros(features.shape[2:])
    for y, x0 in corners:
        total[y // 4 : y // 4 + 4, x0 // 4 : x0 // 4 + 4] += h
    signal = torch.zeros_like(features)
    for y, x0 in corners:
        rows, columns = slice(y // 4, y // 4 + 4), slice(x0 // 4, x0 // 4 + 4)
        cells = features[:, :, rows, columns].detach().requires_grad_()
        out = model.head(cells)
        found.append(out[0].detach().numpy())
        signal[:, :, rows, columns] += torch.autograd.grad(out[0, 1], cells)[0] * h / total[rows, columns]
    (gradient,) = torch.autograd.grad(features, x, signal)
    close(logits, np.array(found))
    close(maps["gradient"], gradient[0].numpy())
    close(maps["input_x_gradient"], (x.detach() * gradient)[0].numpy())


def test_integrated_gradients_add_up(network):
    image = picture(32, 32)
    methods = {"integrated_gradients": {"steps": 40, "baseline": 0.2}}
    (corner,) = answer(network, image[:, :16, :16], methods=methods)[0].values()
    scores = [
        network.model(torch.from_numpy(x[None]))[0, 1].item()
        for x in (image[:, :16, :16], np.full((2, 16, 16), 0.2, np.float32))
    ]
    assert corner.sum() == pytest.approx(scores[0] - scores[1], abs=0.02 * abs(scores[0] - scores[1]))


@pytest.mark.parametrize(("side", "tile"), [(56, 32), (72, 17), (93, 128)])
def test_blocks_do_not_show(network, whole, side, tile):
    image = picture()
    blocks = network.blocks((70, 93), network.corners((70, 93)), side)
    assert (len(blocks) > 1) == (side < 93)
    assert sum(len(block.corners) for block in blocks) == len(network.corners((70, 93)))
    for part in blocks:
        assert max(part.rows.stop - part.rows.start, part.columns.stop - part.columns.start) <= side
    maps, logits = answer(network, image, side=side, tile=tile)
    close(logits, whole[1])
    for name in METHODS:
        assert not np.isnan(whole[0][name]).any()
        close(maps[name], whole[0][name])


def test_what_is_saved_can_be_told_before(network):
    corners = network.corners((128, 128))
    assert network.saving((128, 128), corners) == pytest.approx(len(corners) * 16**2 / 128**2) == 3.515625
    assert network.saving((128, 128), corners, 40) < 1.5


def test_a_moved_picture_has_a_moved_map(network):
    wide = picture(40, 120)
    corners = [(8, x) for x in range(40, 64, 8)]
    there, logits = answer(network, wide, corners)
    here, moved = answer(network, wide[:, :, 16:], [(y, x - 16) for y, x in corners])
    close(moved, logits)
    for name in METHODS:
        inside = np.nan_to_num(there[name])[:, :, 16:]
        assert inside.any()
        close(np.nan_to_num(here[name]), inside)


def test_only_the_windows_that_count_do(network):
    image = picture()
    corners = network.corners((70, 93))[5:7]
    maps, logits = answer(network, image, corners, side=64)
    assert logits.shape == (2, 3)
    covered = np.zeros((70, 93), bool)
    for y, x in corners:
        covered[y : y + WINDOW, x : x + WINDOW] = True
    for name in METHODS:
        assert np.nan_to_num(maps[name])[:, covered].any()
        assert not np.nan_to_num(maps[name])[:, ~covered].any()


def test_the_whole_picture_is_covered_and_windows_lie_on_cells(network):
    for shape in ((16, 17), (70, 93), (19, 64)):
        covered = np.zeros(shape, bool)
        for y, x in network.corners(shape):
            assert y % network.stride == x % network.stride == 0
            covered[y : y + WINDOW, x : x + WINDOW] = True
        assert covered.all()
    assert len(network.corners((64, 64), overlap=0.75)) > len(network.corners((64, 64), overlap=0)) == 16


def test_finished_tiles_are_not_computed_again(network, whole):
    image = picture()
    rest = {(2, 2)}
    finished = {(row, column) for row in range(3) for column in range(3)} - rest
    read = []
    parts = list(
        explain_blocks(
            network,
            lambda y, x: (read.append((y, x)), image[:, y, x])[1],
            (70, 93),
            network.corners((70, 93)),
            ["gradient"],
            1,
            side=48,
            tile=32,
            finished=finished,
        )
    )
    assert len(read) < len(network.blocks((70, 93), network.corners((70, 93)), 48))
    tiles = {tile: maps for part in parts for tile, maps in part.tiles.items()}
    assert tiles.keys() == rest
    close(tiles[2, 2]["gradient"], whole[0]["gradient"][:, 64:, 64:])


def test_classes_can_be_weighed_against_each_other(network, whole):
    image, weights = picture(), (-1.0, 1.0, 0.0)
    maps, _ = answer(network, image, methods=["gradient"], target=weights)
    other, _ = answer(network, image, methods=["gradient"], target=0)
    close(maps["gradient"], whole[0]["gradient"] - other["gradient"])
    for wrong in (3, (1.0, 2.0)):
        with pytest.raises(MitoxaiError, match="classes"):
            answer(network, image, target=wrong)


@pytest.mark.parametrize("channels", [1, 40])
def test_any_number_of_channels(channels):
    model = small_net(channels=channels)
    image = picture(40, 40, channels)
    maps, logits = answer(SeamlessNetwork(model, channels, WINDOW), image, methods=["input_x_gradient"])
    assert maps["input_x_gradient"].shape == image.shape
    assert np.isfinite(maps["input_x_gradient"]).all()
    assert logits.dtype == np.float32


def test_the_map_has_the_scale_of_the_map_by_patches():
    # without padding and with a reach of one pixel, the two modes are one
    class Dots(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(F.relu(self.b(F.relu(self.a(x)))).mean((2, 3)))

    torch.manual_seed(0)
    model, image = Dots().eval().requires_grad_(False), picture(24, 24)
    network = SeamlessNetwork(model, 2, 16)
    corners = network.corners((24, 24))
    maps, logits = answer(network, image, corners)
    weights = blending_window(16)
    patches = np.stack([image[:, y : y + 16, x : x + 16] for y, x in corners])
    expected = attribute_many(model, patches, METHODS, 1)
    close(logits, expected.logits.numpy())
    for name in METHODS:
        total, count = np.zeros(maps[name].shape), np.zeros((24, 24))
        for (y, x), values in zip(corners, expected.maps[name].numpy(), strict=True):
            total[:, y : y + 16, x : x + 16] += values * weights
            count[y : y + 16, x : x + 16] += weights
        close(maps[name], total / count)


def nan_reach(model, channels, at, height, width, grid):
    """The columns of cells that a value which is not a number at one input column reaches."""
    image = torch.zeros(1, channels, height, width)
    image[..., at] = torch.nan
    seen = []
    # the input of the last pooling or mean is the last feature map
    names = {"adaptive_avg_pool2d", "mean"}

    class Spy(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if getattr(func, "__name__", "") in names and args[0].ndim == 4 and not seen:
                seen.append(args[0])
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Spy():
        model(image)
    assert seen[0].shape[2:] == (grid[0].cells(height), grid[1].cells(width))
    return seen[0].isnan().any(1)[0].any(0)


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [("resnet18", 32, 960), ("resnet50v2", 32, 960), ("inception_v3", 75, 2400), ("densenet121", 32, 2400)],
)
def test_cells_see_just_what_the_arithmetic_says(name, height, width):
    torch.manual_seed(0)
    model = create(name, 2, 2).eval().requires_grad_(False)
    with torch.no_grad():
        _, grid, _ = trace(model, torch.zeros(1, 2, 96, 96))
    axis = grid[1]
    for at in (width // 2, width // 2 + 19):
        reached = nan_reach(model, 2, at, height, width, grid)
        cells = np.arange(axis.cells(width)) * axis.stride
        expected = (cells - axis.before <= at) & (at <= cells + axis.after)
        found = reached.numpy()
        assert not (found & ~expected).any()
        assert not expected.all()
        # max-pooling and strides may leave single pixels unread, not whole cells
        assert found.sum() >= expected.sum() - 1


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("length", range(7, 19))
def test_cells_are_counted_as_torch_does(ceil, length):
    net = nn.Sequential(
        nn.Conv2d(1, 1, 3, 2, 1),
        nn.MaxPool2d(3, 2, 1, ceil_mode=ceil),
        nn.Conv2d(1, 1, (1, 3), padding=(0, 2), dilation=2),
        nn.Flatten(),
    )
    _, grid, _ = trace(net, torch.zeros(1, 1, length, length + 4))
    expected = net[:3](torch.zeros(1, 1, length, length + 4)).shape[2:]
    assert tuple(axis.cells(n) for axis, n in zip(grid, (length, length + 4), strict=True)) == expected


class TwoScales(nn.Module):
    """A head that also reads an earlier feature map."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(2, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Linear(4, 3)

    def forward(self, x):
        early = self.a(x)
        return self.head(early.mean((2, 3)) + self.b(early.relu()).mean((2, 3)))


def positioned(channels=2):
    class Positioned(SmallNet):
        def forward(self, x):
            return super().forward(x + torch.linspace(0, 1, x.shape[3]).expand(1, 1, *x.shape[2:]))

    torch.manual_seed(0)
    return Positioned(channels).eval()


@pytest.mark.parametrize(
    ("model", "channels", "why"),
    [
        (RandomNet(["plain", "gate", "plain"]).eval(), 3, "not local"),
        (create("efficientnet_b0", 3, 2).eval(), 3, "not local"),
        (nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.LazyLinear(2)).eval(), 2, "group_norm"),
        (nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.LazyLinear(2)).eval(), 2, "batch_norm"),
        (TwoScales().eval(), 2, "other feature maps"),
        (positioned(), 2, "not local"),
        (nn.Sequential(nn.Flatten(), nn.Linear(2 * 32 * 32, 3)).eval(), 2, "no feature map"),
    ],
)  # fmt: skip
def test_what_is_not_local_is_refused(model, channels, why):
    with torch.no_grad():
        model(torch.zeros(2, channels, 32, 32))  # lazy layers find their size
    with pytest.raises(MitoxaiError, match=f"{why}.*patch by patch"):
        SeamlessNetwork(model, channels, 32)


def test_heads_that_do_not_work_on_windows_are_refused():
    class AgainstTheBatch(nn.Module):
        def forward(self, x):
            means = x.mean((2, 3))[:, :3]
            return means - means.mean(0) / 2

    SeamlessNetwork(SmoothNet().eval(), 2, 16)
    for head in (AgainstTheBatch(), nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (1, -1)), nn.LazyLinear(3))):
        torch.manual_seed(0)
        model = SmallNet(head=head).eval()
        with torch.no_grad():
            model(torch.zeros(1, 2, WINDOW, WINDOW))
        with pytest.raises(MitoxaiError, match="head does not work on windows"):
            SeamlessNetwork(model, 2, WINDOW)


def test_what_cannot_be_done_is_said(network):
    image = picture()
    assert "guided_backprop" not in seamless_methods()
    for methods, why in (
        (["guided_backprop"], "does not have guided_backprop"),
        ([], "No explanation method"),
        ({"grad_cam": {"layer": "left"}}, "last feature map only"),
    ):
        with pytest.raises(MitoxaiError, match=why):
            answer(network, image, methods=methods)
    with pytest.raises(MitoxaiError, match=r"depends on .* more than a block of 24"):
        answer(network, image, side=24)
    with pytest.raises(MitoxaiError, match="smaller than a patch"):
        network.corners((12, 40))


def test_it_is_cancelled_in_the_middle(network):
    token, read = CancelToken(), []
    image = picture()

    def reading(y, x):
        read.append(y)
        token.cancel()
        return image[:, y, x]

    corners = network.corners((70, 93))
    with CancellingMode(token), pytest.raises(Cancelled):
        list(explain_blocks(network, reading, (70, 93), corners, METHODS, 1, side=56))
    assert len(read) == 1


def test_cancelling_changes_no_number_and_the_network_is_left_as_it_was(whole):
    model = small_net().train().requires_grad_(True)
    with CancellingMode(CancelToken()):
        network = SeamlessNetwork(model, 2, WINDOW)
        with torch.inference_mode():
            maps, logits = answer(network, picture())
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    np.testing.assert_array_equal(logits, whole[1])
    for name in METHODS:
        np.testing.assert_array_equal(maps[name], whole[0][name])


def test_smoothing_is_refused(network):
    with pytest.raises(MitoxaiError, match="does not smooth integrated gradients"):
        configured(network, {"integrated_gradients": {"samples": 2}})
