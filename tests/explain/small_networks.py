"""Small classifiers with the shapes of real ones, and what tests ask of them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def vgg_like(seed=0, channels=3, batch_norm=False, bias=True):
    """Convolutions, max-pooling, dense layers; nothing that module hooks would miss."""
    torch.manual_seed(seed)

    def convolution(i, o):
        return [
            nn.Conv2d(i, o, 3, padding=1, bias=bias),
            *([nn.BatchNorm2d(o)] if batch_norm else []),
            nn.ReLU(),
        ]

    return settled(
        nn.Sequential(
            *convolution(channels, 8),
            *convolution(8, 8),
            nn.MaxPool2d(2),
            *convolution(8, 12),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Flatten(),
            nn.LazyLinear(10, bias=bias),
            nn.ReLU(),
            nn.Linear(10, 3, bias=bias),
        ),
        channels,
        bias,
    )


class SmoothNet(nn.Module):
    """No kinks, for finite differences."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(F.softplus(self.b(torch.tanh(self.a(x)))).mean((2, 3)))


class RandomNet(nn.Module):
    """A random sequence of what real networks are made of: skips, concatenation, gates, shared and in-place ReLUs."""

    KINDS = (
        "residual",
        "dense",
        "gate",
        "pool",
        "plain",
        "before",
        "in place",
        "depthwise",
        "statement",
        "branch",
        "spatial gate",
    )

    def __init__(self, kinds, channels=3, width=6, bias=True):
        super().__init__()
        self.kinds = kinds
        self.relu = nn.ReLU(inplace=True)
        self.stem = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=bias)
        self.blocks = nn.ModuleList()
        for kind in kinds:
            block = nn.ModuleDict(
                {"conv": nn.Conv2d(width, width, 3, padding="same", bias=bias), "norm": nn.BatchNorm2d(width)}
            )
            if kind == "gate":
                block["down"], block["up"] = nn.Linear(width, 2, bias=bias), nn.Linear(2, width, bias=bias)
            if kind == "spatial gate":
                block["map"] = nn.Conv2d(width, 1, 1, bias=bias)
            if kind == "depthwise":
                block["conv"] = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=bias)
            self.blocks.append(block)
            width += width if kind == "dense" else 0
        self.head = nn.Linear(width, 2, bias=bias)

    def forward(self, x):
        x = self.relu(self.stem(x))
        for kind, block in zip(self.kinds, self.blocks, strict=True):
            x = self.step(kind, block, x)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    def step(self, kind, block, x):
        if kind == "before":  # pre-activation: the norm does not follow the convolution
            return x + block["conv"](self.relu(block["norm"](x)))
        y = block["norm"](block["conv"](x))
        if kind == "residual":
            y += x
            return self.relu(y)
        if kind == "dense":
            return torch.cat([x, F.relu(y)], 1)
        if kind == "gate":
            gate = torch.sigmoid(block["up"](F.relu(block["down"](y.mean((2, 3))))))
            return self.relu(y * gate[:, :, None, None])
        if kind == "spatial gate":
            return self.relu(y).mul_(block["map"](x).sigmoid().expand_as(y))
        if kind == "pool":
            return F.max_pool2d(F.avg_pool2d(self.relu(y), 2, stride=1), 2, ceil_mode=True)
        if kind == "in place":  # the convolution's own output is changed after its norm has read it
            z = block["conv"](x)
            y = block["norm"](z)
            z.relu_()
            return 0.5 * y.add_(z) - F.dropout(x, 0.5, False) / 4
        if kind == "statement":  # the result is thrown away, the change in place is meant
            self.relu(y)
            y.mul_(2.0)
            return y
        if kind == "branch":  # one tensor, three readers
            z = block["conv"](x)
            return torch.relu(block["norm"](z)) + self.relu(z.clone()) - z
        return F.silu(y) if kind == "depthwise" else F.relu(y, inplace=True)


def settled(model: nn.Module, channels=3, bias=True, size=32) -> nn.Module:
    """In evaluation mode, batch norms with statistics of their own; without any additive constant unless `bias`."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    model.train()
    with torch.no_grad():
        model(torch.randn(4, channels, size, size))
    for norm in norms:
        with torch.no_grad():
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.3, 0.3)
        if not bias:
            norm.running_mean.zero_()
    if not bias:
        for module in model.modules():
            if isinstance(getattr(module, "bias", None), nn.Parameter):
                module.bias.data.zero_()
    return model.eval()


def random_net(seed: int, bias=True) -> nn.Module:
    torch.manual_seed(seed)
    order = torch.randperm(len(RandomNet.KINDS))[:5]
    return settled(RandomNet([RandomNet.KINDS[i] for i in order], bias=bias), bias=bias)


def error(a: Tensor, reference: Tensor) -> float:
    """Largest difference relative to the largest value."""
    return float((a - reference).abs().max() / reference.abs().max())
