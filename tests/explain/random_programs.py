"""Small random networks that are run in two ways: as people write them, and step by step as the definitions of the methods say.

A `Program` is a list of steps. `Program.forward` runs it with functions, modules, methods and operators mixed, some in place. The
rules of `by_definition` take each linear step as an explicit matrix, contribution by contribution; they share no code
with the package.
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RELUS = {
    "module": lambda net, x: net.relu(x),
    "functional": lambda net, x: F.relu(x),
    "torch": lambda net, x: torch.relu(x),
    "method": lambda net, x: x.relu(),
    "clamp": lambda net, x: x.clamp(min=0),
    "clamp_min": lambda net, x: torch.clamp_min(x, 0),
    "overload": lambda net, x: torch.ops.aten.relu.default(x),
}
RELUS_IN_PLACE = {
    "module in place": lambda net, x: net.relu_in_place(x),
    "functional in place": lambda net, x: F.relu(x, inplace=True),
    "method in place": lambda net, x: x.relu_(),
    "torch in place": lambda net, x: torch.relu_(x),
}
ADDS = {"operator": lambda a, b: a + b, "function": torch.add}
ADDS_IN_PLACE = {"operator in place": lambda a, b: a.__iadd__(b), "method in place": lambda a, b: a.add_(b)}


ALL_RELUS, ALL_ADDS = {**RELUS, **RELUS_IN_PLACE}, {**ADDS, **ADDS_IN_PLACE}


@dataclass
class Step:
    """`kind` of what is done to the values numbered `reads`; the result is the next value."""

    kind: str
    reads: tuple[int, ...]
    way: str = ""
    layer: nn.Module | None = None
    options: dict = field(default_factory=dict)


class Program(nn.Module):
    """A random classifier (N, channels, size, size) → (N, 3), drawn from a seed.

    Parameters
    ----------
    seed : int
    bias : bool
        Whether there is anything that is added.
    rectified : bool
        Only ReLUs and linear steps; else gates and smooth activations too.
    """

    def __init__(self, seed, bias=True, rectified=True, channels=2, size=7, length=9):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)
        self.bias, self.rectified, self.size = bias, rectified, size
        self.steps, self.shapes = [], [(channels, size, size)]
        self.relu, self.relu_in_place = nn.ReLU(), nn.ReLU(inplace=True)
        self.layers = nn.ModuleList()
        self.convolve(0)
        for _ in range(length):
            self.grow()
        last = len(self.steps)
        if self.draw(2):
            self.add("mean", last, shape=self.shapes[last][:1])
        else:
            channels, height, width = self.shapes[last]
            self.add("flatten", last, shape=(channels * height * width,))
        for outputs in (5, 3):
            last = len(self.steps)
            self.add(
                "linear",
                last,
                layer=self.new(nn.Linear(self.shapes[last][0], outputs, bias=bias)),
                shape=(outputs,),
            )
            if outputs == 5:
                self.rectify(len(self.steps))
        self.choose_ways()
        del self.generator
        self.double().eval()

    def draw(self, count):
        return int(torch.randint(count, (), generator=self.generator))

    def pick(self, options):
        return list(options)[self.draw(len(options))]

    def new(self, layer):
        with torch.no_grad():
            for name, values in [*layer.named_parameters(), *layer.named_buffers()]:
                if values.is_floating_point():
                    drawn = torch.rand(values.shape, generator=self.generator)
                    if isinstance(layer, nn.BatchNorm2d):
                        scale = {"weight": drawn + 0.5, "running_var": drawn + 0.5}.get(name, drawn - 0.5)
                        values.copy_(scale if self.bias or name in {"weight", "running_var"} else 0 * drawn)
                    else:
                        fan = values[0].numel() if values.ndim > 1 else 1
                        values.copy_(
                            (drawn - 0.4) * (2 / fan**0.5) if values.ndim > 1 else (drawn - 0.5) * 0.5
                        )
        self.layers.append(layer)
        return layer

    def add(self, kind, *reads, shape, layer=None, **options):
        self.steps.append(Step(kind, reads, layer=layer, options=options))
        self.shapes.append(shape)

    def convolve(self, value):
        channels, height, _ = self.shapes[value]
        outputs = self.pick([3, 4])
        kernel, stride = self.pick([1, 3]), self.pick([1, 1, 2]) if height > 4 else 1
        padding = self.pick([0, 1, "same"]) if kernel == 3 and height > 4 else "same"
        padding = 1 if padding == "same" and stride > 1 else padding
        kind = self.pick(["plain", "plain", "depthwise"]) if value else "plain"
        groups = channels if kind == "depthwise" else 1
        outputs = channels if kind == "depthwise" else outputs
        dilation = self.pick([1, 2]) if padding == "same" and stride == 1 else 1
        layer = nn.Conv2d(
            channels,
            outputs,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            bias=self.bias and bool(self.draw(2)),
        )
        side = layer(torch.zeros(1, *self.shapes[value])).shape[-1]
        self.add("conv", value, layer=self.new(layer), shape=(outputs, side, side))
        if self.draw(2):
            self.normalise(len(self.steps))

    def normalise(self, value):
        shape = self.shapes[value]
        self.add("norm", value, layer=self.new(nn.BatchNorm2d(shape[0])), shape=shape)

    def rectify(self, value):
        smooth = not self.rectified and self.draw(3) == 0
        self.add("silu" if smooth else "relu", value, shape=self.shapes[value])

    def grow(self):
        last = len(self.steps)
        channels, height, width = shape = self.shapes[last]
        partners = [v for v, other in enumerate(self.shapes[:last]) if v and other == shape]
        neighbours = [v for v, other in enumerate(self.shapes[:last]) if v and other[1:] == shape[1:]]
        choice = self.pick(["conv", "conv", "norm", "add", "add", "cat", "pool", "scale", "gate", "dropout"])
        if choice == "add" and partners:
            self.add(
                "add", *self.pick([(last, self.pick(partners)), (self.pick(partners), last)]), shape=shape
            )
        elif choice == "cat" and neighbours and channels < 8:
            other = self.pick(neighbours)
            self.add("cat", other, last, shape=(channels + self.shapes[other][0], height, width))
        elif choice == "pool" and height > 3:
            kind, ceil = self.pick(["max", "average", "average"]), bool(self.draw(2))
            options = {"kernel_size": 2, "stride": self.pick([1, 2]), "ceil_mode": ceil}
            if kind == "average":
                options |= {"padding": self.draw(2), "count_include_pad": bool(self.draw(2))}
            side = pool(kind, torch.zeros(1, 1, height, width), options).shape[-1]
            self.add(kind, last, shape=(channels, side, side), **options)
        elif choice == "scale":
            self.add("scale", last, shape=shape, factor=self.pick([0.5, -0.7, 2.0, 3.0]))
        elif choice == "dropout":
            self.add("dropout", last, shape=shape)
        elif choice == "norm":
            self.normalise(last)
        elif choice == "gate" and not self.rectified:
            self.add("mean", last, shape=(channels,))
            self.add(
                "linear",
                last + 1,
                layer=self.new(nn.Linear(channels, channels, bias=self.bias)),
                shape=(channels,),
            )
            self.add("sigmoid", last + 2, shape=(channels,))
            self.add("gate", last, last + 3, shape=shape)
        else:
            self.convolve(last)
        if self.draw(2):
            self.rectify(len(self.steps))

    def choose_ways(self):
        """How each step is written; in place only where nothing reads the old value later."""
        roots = [0]  # which value shares its memory with which
        for step in self.steps:
            roots.append(roots[step.reads[0]] if step.kind in {"dropout", "flatten"} else len(roots))
        for number, step in enumerate(self.steps, 1):
            root = roots[step.reads[0]]
            read_later = {roots[value] for other in self.steps[number:] for value in other.reads}
            free = root != 0 and root not in read_later and root not in {roots[v] for v in step.reads[1:]}
            if step.kind == "relu":
                step.way = self.pick([*RELUS, *(RELUS_IN_PLACE if free else ())])
            elif step.kind == "add":
                step.way = self.pick(ADDS_IN_PLACE if free else ADDS)

    def forward(self, x):
        return self.run(x, as_written=True)[-1]

    def run(self, x, as_written):
        """All values, computed as written, or never in place."""
        values = [x]
        for step in self.steps:
            read = [values[v] for v in step.reads]
            if step.kind == "relu":
                values.append(ALL_RELUS[step.way](self, read[0]) if as_written else read[0].clamp(min=0))
            elif step.kind == "add":
                values.append(ALL_ADDS[step.way](*read) if as_written else read[0] + read[1])
            else:
                values.append(self.do(step, read))
        return values

    def do(self, step, read):
        x = read[0]
        if step.layer is not None:
            return step.layer(x)
        if step.kind in {"max", "average"}:
            return pool(step.kind, x, step.options)
        return {
            "mean": lambda: x.mean((2, 3)),
            "flatten": lambda: x.flatten(1),
            "scale": lambda: x * step.options["factor"],
            "dropout": lambda: F.dropout(x, 0.5, self.training),
            "silu": lambda: F.silu(x),
            "sigmoid": lambda: torch.sigmoid(x),
            "gate": lambda: x * read[1][:, :, None, None],
            "cat": lambda: torch.cat(read, 1),
        }[step.kind]()


def pool(kind, x, options):
    return (F.max_pool2d if kind == "max" else F.avg_pool2d)(x, **options)


# --- relevance by definition -----------------------------------------------------------------------------------------


@dataclass
class Rules:
    """What is done at convolutions, dense layers and everything else: epsilon, plus, alpha2beta1, flat, or excitation (z+)."""

    conv: str = "epsilon"
    dense: str = "epsilon"
    first: str = ""
    other: str = "epsilon"
    epsilon: float = 0.0
    relative: bool = False

    def stabilise(self, z):
        epsilon = self.epsilon * float(z.abs().max()) if self.relative else self.epsilon
        return torch.where(z < 0, z - epsilon, z + epsilon)


def matrix_of(function, shape):
    """The matrix (inputs, outputs) of a linear function of one picture."""
    size = math.prod(shape)
    basis = torch.eye(size, dtype=torch.float64).view(size, *shape)
    return function(basis).flatten(1).detach()


def shared(parts, total, relevance):
    """Relevance of each input: its part (inputs, outputs) of each total, nothing where the total is nothing."""
    ratios = torch.where(total != 0, relevance / torch.where(total != 0, total, 1.0), 0.0)
    return parts @ ratios


def share_linear(rule, rules, x, matrix, bias, relevance):
    """Relevance of x (inputs) given that of x @ matrix + bias (outputs)."""
    parts = x[:, None] * matrix
    if rule == "flat":
        seen = (matrix != 0).double()
        return shared(seen, seen.sum(0), relevance)
    if rule == "epsilon":
        return shared(parts, rules.stabilise(parts.sum(0) + bias), relevance)
    exciting, inhibiting = parts.clamp(min=0), parts.clamp(max=0)
    if rule == "excitation":
        excited = exciting.sum(0) > 0
        return shared(exciting, exciting.sum(0), relevance * excited) + shared(
            inhibiting, inhibiting.sum(0), relevance * ~excited
        )
    alpha, beta = {"plus": (1, 0), "alpha2beta1": (2, 1)}[rule]
    positive = shared(exciting, rules.stabilise(exciting.sum(0) + bias.clamp(min=0)), relevance)
    negative = shared(inhibiting, rules.stabilise(inhibiting.sum(0) + bias.clamp(max=0)), relevance)
    return alpha * positive - beta * negative


def relevance_of_one(net: Program, x: Tensor, target: int, rules: Rules, positive_only=False) -> Tensor:
    """Relevance (1, C, H, W) of one picture."""
    with torch.no_grad():
        values = net.run(x, as_written=False)
    relevance = [torch.zeros_like(value) for value in values]
    relevance[-1][0, target] = values[-1][0, target].clamp(min=0) if positive_only else values[-1][0, target]
    for number in range(len(net.steps), 0, -1):
        step, signal = net.steps[number - 1], relevance[number]
        read, given = [values[v] for v in step.reads], [relevance[v] for v in step.reads]
        if step.kind in {"conv", "norm", "linear"}:
            before = step.reads[0]
            while before and net.steps[before - 1].kind == "dropout":  # nothing, once trained
                before = net.steps[before - 1].reads[0]
            source = net.steps[before - 1] if before else None
            if step.kind == "norm" and source is not None and source.kind == "conv":
                layers, start = [source.layer, step.layer], source.reads[0]
            else:
                layers, start = [step.layer], step.reads[0]
            relevance[start] += through_layers(net, layers, values[start], start, signal, rules)
        elif step.kind in {"mean", "average"}:
            x_in = read[0]
            matrix = matrix_of(lambda v, step=step: net.do(step, [v]), x_in.shape[1:])
            rule = "excitation" if rules.other == "excitation" else "epsilon"
            given[0] += share_linear(
                rule, rules, x_in.flatten(), matrix, torch.zeros(()), signal.flatten()
            ).view_as(x_in)
        elif step.kind == "add":
            parts = torch.stack([value.flatten() for value in read])
            for which in (0, 1):
                given[which] += share_of_sum(parts, rules, signal)[which].view_as(signal)
        elif step.kind == "cat":
            for one, part in zip(given, signal.split([value.shape[1] for value in read], 1), strict=True):
                one += part
        elif step.kind == "max":
            with torch.enable_grad():
                leaf = read[0].clone().requires_grad_()
                given[0] += torch.autograd.grad(net.do(step, [leaf]), leaf, signal)[0]
        else:  # activations, constant factors, dropout, flattening; what a gate lets through
            given[0] += signal.view_as(given[0])
    return relevance[0]


def through_layers(net, layers, x, start, signal, rules):
    """Through a layer, or a convolution with the batch norm after it as one layer."""
    kernel = layers[0]

    def function(v):
        for layer in layers:
            v = layer(v)
        return v

    with torch.no_grad():
        zero = torch.zeros_like(x)
        bias = function(zero)
        matrix = matrix_of(lambda v: function(v) - bias, x.shape[1:])
        if isinstance(kernel, nn.BatchNorm2d):
            rule = rules.other
        elif isinstance(kernel, nn.Linear):
            rule = rules.dense
        else:
            rule = rules.conv
            if kernel.groups > 1 and rule in {"plus", "alpha2beta1"}:
                rule = "epsilon"
        if start == 0 and rules.first and not isinstance(kernel, nn.BatchNorm2d):
            rule = rules.first
        if isinstance(kernel, nn.BatchNorm2d) and rule == "excitation":
            return signal
        return share_linear(rule, rules, x.flatten(), matrix, bias.flatten(), signal.flatten()).view_as(x)


def share_of_sum(parts, rules, signal):
    """The relevance of both terms (2, values)."""
    flat = signal.flatten()
    if rules.other == "excitation":
        positive, negative = parts.clamp(min=0), parts.clamp(max=0)
        excited = positive.sum(0) > 0
        parts = torch.where(excited, positive, negative)
        total = parts.sum(0)
    else:
        total = rules.stabilise(parts.sum(0))
    return parts * torch.where(total != 0, flat / torch.where(total != 0, total, 1.0), 0.0)
