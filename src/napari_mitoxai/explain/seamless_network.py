"""A network whose body runs over a picture of any size and whose head looks at windows of the features; see `seamless`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.explain.blending import blending_window
from napari_mitoxai.explain.feature_grid import FeatureAxis, GridMode, trace
from napari_mitoxai.explain.path_integrals import shares
from napari_mitoxai.explain.question import as_inputs, evaluating

BLOCK_SIDE = 2048
_INSTEAD = "explain it patch by patch."
_NO_WINDOWS = f"The network's head does not work on windows of its features: {_INSTEAD}"
_SAME = 1e-4  # of the logits' size: what another order of summing may change

Corner = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """What is computed at once.

    Attributes
    ----------
    rows, columns : slice
        Of the section, in input pixels; all that the block's windows depend on.
    corners : tuple of (y, x)
        Upper left corners of its windows.
    """

    rows: slice
    columns: slice
    corners: tuple[Corner, ...]


class SeamlessNetwork:
    """A classifier that can be run over pictures of any size, with its head on windows of the size it was trained on.

    Parameters
    ----------
    model : torch.nn.Module
        A classifier (N, C, H, W) → logits (N, classes), frozen. It is used in evaluation mode and left as it was.
    channels : int
        Planes of the input.
    window : int
        Side of the network's usual input, in pixels.

    Attributes
    ----------
    stride : int
        Input pixels from a cell of the last feature map to the next; windows start at multiples of it.
    cells : int
        Side of a window's feature map.
    before, after : int
        How far a cell sees up and left, down and right of where it starts, in input pixels.
    classes : int
        Outputs.

    Raises
    ------
    MitoxaiError
        If the network's features depend on more than a bounded neighbourhood (squeeze-and-excitation, attention,
        normalisation over a patch), or its head does not work on windows.
    """

    def __init__(self, model: nn.Module, channels: int, window: int) -> None:
        self.model, self.window = model, window
        like = next(model.parameters())
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad(), evaluating(model):
            probe = torch.randn(1, channels, window, window, generator=generator).to(like)
            expected, grid, self._number = trace(model, probe)
            self.classes = expected.shape[1]
            self.stride, self.cells = grid[0].stride, grid[0].cells(window)
            self.before, self.after = (max(getattr(a, side) for a in grid) for side in ("before", "after"))
            self._axis: FeatureAxis = grid[0]
            if {a.stride for a in grid} != {self.stride} or self.cells != grid[1].cells(window):
                raise MitoxaiError(f"The network treats rows and columns differently: {_INSTEAD}")
            # one window must be what the network says of a patch, and two must be two answers, the first of them its own
            wide = torch.randn(1, channels, window, window + self.stride, generator=generator).to(like)
            (found,) = self._heads(probe, ((0, 0),))[2:]
            try:
                both = [self._heads(wide, corners)[2] for corners in (((0, 0), (0, 1)), ((0, 0),))]
            except RuntimeError as error:  # shapes that do not fit
                raise MitoxaiError(_NO_WINDOWS) from error
        same = both[0].shape == (2, self.classes) and all(
            torch.allclose(a, b, rtol=_SAME, atol=_SAME * float(b.abs().max()))
            for a, b in ((found, expected), (both[0][:1], both[1]))
        )
        if not same:
            raise MitoxaiError(_NO_WINDOWS)

    def class_weights(self, target: int | Sequence[float]) -> Tensor:
        """What each class counts in the score (classes,): 1 for a class by its index, or as given.

        Raises
        ------
        MitoxaiError
            If there is no such class, or not one weight for each.
        """
        if isinstance(target, int):
            if not 0 <= target < self.classes:
                raise MitoxaiError(
                    f"The network has {self.classes} classes: choose a target from 0 to {self.classes - 1}."
                )
            return torch.eye(self.classes)[target]
        if len(target) != self.classes:
            raise MitoxaiError(
                f"There are {len(target)} weights for {self.classes} classes: give one for each."
            )
        return torch.tensor([float(weight) for weight in target])

    def corners(self, shape: tuple[int, int], overlap: float = 0.5) -> list[Corner]:
        """Lay windows over a picture.

        Parameters
        ----------
        shape : (Y, X)
            In input pixels.
        overlap : float
            Share of a window's side that its neighbour covers too, 0 to below 1; in whole cells.

        Returns
        -------
        list of (y, x)
            Upper left corners in input pixels, row by row, multiples of the stride. The last row and column end with the
            last cell, so a window may hang over the far edge by less than a cell.

        Raises
        ------
        MitoxaiError
            If the picture is smaller than a window.
        """
        step = max(round(self.cells * (1 - overlap)), 1)
        starts = []
        for length, cells in zip(shape, self._cells_of(shape), strict=True):
            last = cells - self.cells
            if length < self.window:
                raise MitoxaiError(
                    f"The picture is {shape[1]} x {shape[0]} px, smaller than a patch of {self.window} px: use a larger section."
                )
            even = np.linspace(0, last, -(-last // step) + 1).round()
            starts.append([int(start) * self.stride for start in np.unique(even)])
        return [(y, x) for y in starts[0] for x in starts[1]]

    def blocks(
        self, shape: tuple[int, int], corners: Sequence[Corner], side: int = BLOCK_SIDE
    ) -> list[Block]:
        """Share the windows among blocks of about equal size.

        Parameters
        ----------
        shape : (Y, X)
            Of the picture, in input pixels.
        corners : sequence of (y, x)
            Those of `corners` that count.
        side : int
            Largest side of a block in input pixels, with all that its windows depend on.

        Raises
        ------
        MitoxaiError
            If a single window depends on more than that.
        """
        groups = [
            self._groups(length, sorted({corner[axis] for corner in corners}), side)
            for axis, length in enumerate(shape)
        ]
        blocks = []
        for ys, xs in product(*groups):
            own = tuple(corner for corner in corners if corner[0] in ys and corner[1] in xs)
            if own:
                rows, columns = (
                    self._extent(min(c[axis] for c in own), max(c[axis] for c in own), shape[axis])
                    for axis in (0, 1)
                )
                blocks.append(Block(rows, columns, own))
        return blocks

    def saving(self, shape: tuple[int, int], corners: Sequence[Corner], side: int = BLOCK_SIDE) -> float:
        """How many times fewer pixels the network computes than patch by patch; below 1, patches are quicker.

        Parameters and errors are those of `blocks`.
        """
        areas = [
            (block.rows.stop - block.rows.start) * (block.columns.stop - block.columns.start)
            for block in self.blocks(shape, corners, side)
        ]
        return len(corners) * self.window**2 / sum(areas)

    def _groups(self, length: int, starts: list[int], side: int) -> list[set[int]]:
        for count in range(1, len(starts) + 1):
            groups = [[int(s) for s in group] for group in np.array_split(np.array(starts), count)]
            extents = [self._extent(group[0], group[-1], length) for group in groups]
            if max(extent.stop - extent.start for extent in extents) <= side:
                return [set(group) for group in groups]
        if not starts:
            return []
        need = max(e.stop - e.start for e in (self._extent(start, start, length) for start in starts))
        raise MitoxaiError(
            f"A window of this network depends on {need} input pixels, more than a block of {side}: "
            f"allow larger blocks, or explain patch by patch."
        )

    def _extent(self, first: int, last: int, length: int) -> slice:
        """The input pixels that windows starting from `first` to `last` depend on, or their Grad-CAM reaches."""
        end = last + (self.cells - 1) * self.stride
        low = min(first - self.before, int(first + self._centre - self._radius))
        high = max(end + self.after, int(end + self._centre + self._radius)) + 1
        # blocks start at multiples of the stride, where cells start; a whole number of cells at the end: fewer shapes
        return slice(
            max(low // self.stride * self.stride, 0), min(-(-high // self.stride) * self.stride, length)
        )

    def _cells_of(self, shape: Sequence[int]) -> tuple[int, int]:
        return self._axis.cells(shape[0]), self._axis.cells(shape[1])

    @cached_property
    def _centre(self) -> float:
        """Where the first cell's centre lies: a window's cells are a stride apart and centred in it."""
        return (self.window - 1) / 2 - self.stride * (self.cells - 1) / 2

    @cached_property
    def _radius(self) -> float:
        """How far a cell of Grad-CAM reaches: to the next one, and to the window's border."""
        return max(float(self.stride), self._centre + 1)

    def interpolation(self, pixels: range, cells: range) -> Tensor:
        """The matrix (pixels, cells) that interpolates linearly between cells; its rows need not sum to 1."""
        at = torch.arange(pixels.start, pixels.stop, dtype=torch.float32)[:, None]
        centres = (
            self._centre + self.stride * torch.arange(cells.start, cells.stop, dtype=torch.float32)[None]
        )
        return (1 - (at - centres).abs() / self._radius).clamp(min=0)

    def _heads(self, inputs: Tensor, cells: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Run the body on a block and the head on windows of it.

        Parameters
        ----------
        inputs : Tensor (1, C, h, w)
        cells : sequence of (row, column)
            Where in the block's feature map the windows start.

        Returns
        -------
        features : Tensor (1, K, rows, columns)
            Those of the block, of the inputs' graph.
        windows : Tensor (N, K, cells, cells)
            A leaf.
        logits : Tensor (N, classes)
            Of the leaf's graph.
        """
        kept: list[Tensor] = []

        def cut(features: Tensor) -> Tensor:
            side = self.cells
            windows = torch.stack([features[0, :, r : r + side, c : c + side] for r, c in cells]).detach()
            windows.requires_grad_(torch.is_grad_enabled())
            kept[:] = features, windows
            return windows.clone()  # a head may change its input in place

        start = inputs.clone()  # so may a network
        with GridMode(start, self._number, cut):
            logits = self.model(start)
        return kept[0], kept[1], logits

    def explain(
        self,
        block: Block,
        inputs: Tensor | NDArray[np.float32],
        methods: Mapping[str, Any],
        scores: Tensor,
        blending: NDArray[np.float32],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Explain the windows of a block.

        Parameters
        ----------
        block : Block
        inputs : Tensor or array (C, h, w)
            The block's rows and columns, scaled as the model wants them.
        methods : mapping
            Parameters by name.
        scores : Tensor (classes,)
            What each logit counts in the score that is explained.
        blending : ndarray of float32
            Of every cell of the picture, the sum of the blending weights of all windows: see `blending_sums`.

        Returns
        -------
        maps : dict of Tensor (C or 1, h, w)
            By method, what the block adds; the parts of all blocks are summed.
        logits : Tensor (N, classes)
        """
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            evaluating(self.model),
        ):
            x = as_inputs(inputs[None], self.model).contiguous(memory_format=torch.channels_last)
            with torch.autocast(x.device.type, enabled=False):
                return _BlockQuestion(self, block, x, scores, blending).answers(methods)

    def blending_sums(self, shape: tuple[int, int], corners: Sequence[Corner]) -> NDArray[np.float32]:
        """Of every cell of a picture (rows, columns), the sum of the blending weights of all windows; 0 where none lies."""
        sums = np.zeros(self._cells_of(shape), np.float32)
        weights = blending_window(self.cells)
        for y, x in corners:
            row, column = y // self.stride, x // self.stride
            sums[row : row + self.cells, column : column + self.cells] += weights
        return sums


class _BlockQuestion:
    """What the windows of one block answer; see `SeamlessNetwork.explain`."""

    def __init__(
        self,
        network: SeamlessNetwork,
        block: Block,
        inputs: Tensor,
        scores: Tensor,
        blending: NDArray[np.float32],
    ) -> None:
        self._network, self._block, self._inputs = network, block, inputs
        self._scores = scores.to(inputs, copy=True)  # the caller may be in inference mode
        stride, side = network.stride, network.cells
        in_picture = [(y // stride, x // stride) for y, x in block.corners]
        first = block.rows.start // stride, block.columns.start // stride
        self._cells = [(row - first[0], column - first[1]) for row, column in in_picture]
        weights = blending_window(side)
        self._shares = torch.from_numpy(
            np.stack([weights / blending[r : r + side, c : c + side] for r, c in in_picture])[:, None]
        ).to(inputs)

    def answers(self, methods: Mapping[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
        x = self._inputs
        maps: dict[str, Tensor] = {}
        plain = {"gradient", "input_x_gradient"} & methods.keys()
        leaf = x.detach().requires_grad_(bool(plain))
        features, windows, logits = self._network._heads(leaf, self._cells)
        signals = self._signals(windows, logits)
        if "grad_cam" in methods:
            maps["grad_cam"] = self._grad_cam(windows.detach(), signals, features.shape[2:])
        if plain:
            gradient = self._back(leaf, features, signals)
            maps |= {name: gradient if name == "gradient" else gradient * x[0] for name in plain}
        del features, windows
        if "integrated_gradients" in methods:
            maps["integrated_gradients"] = self._integrated(methods["integrated_gradients"])
        return maps, logits.detach()

    def _signals(self, windows: Tensor, logits: Tensor) -> Tensor:
        """The gradient of each window's score by its cells (N, K, cells, cells)."""
        (signals,) = torch.autograd.grad((logits * self._scores).sum(), windows)
        return signals

    def _field(self, of_windows: Tensor, size: Sequence[int]) -> Tensor:
        """Values of windows (N, K, cells, cells), blended into the block's cells (1, K, rows, columns)."""
        side = self._network.cells
        field = of_windows.new_zeros(1, of_windows.shape[1], *size)
        for (row, column), values in zip(self._cells, of_windows * self._shares, strict=True):
            field[0, :, row : row + side, column : column + side] += values
        return field

    def _back(self, leaf: Tensor, features: Tensor, signals: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(features, leaf, self._field(signals, features.shape[2:]))
        return gradient[0]

    def _integrated(self, parameters: Any) -> Tensor:
        """On the straight way from a constant, with the points that patches have."""
        way = self._inputs - parameters.baseline
        total = torch.zeros_like(way[0])
        for share in shares(parameters.steps, parameters.mode):
            leaf = (parameters.baseline + share * way).requires_grad_()
            features, windows, logits = self._network._heads(leaf, self._cells)
            total += self._back(leaf, features, self._signals(windows, logits))
        return way[0] * total / parameters.steps

    def _grad_cam(self, windows: Tensor, signals: Tensor, size: Sequence[int]) -> Tensor:
        """The Grad-CAM of each window, blended and interpolated (1, h, w), yet to be divided by `interpolation`'s sums."""
        network, block = self._network, self._block
        cams = (signals.mean((2, 3), keepdim=True) * windows).sum(1, keepdim=True).clamp(min=0)
        field = self._field(cams, size)[0, 0]
        rows, columns = (
            network.interpolation(
                range(part.start, part.stop),
                range(part.start // network.stride, part.start // network.stride + length),
            ).to(field)
            for part, length in zip((block.rows, block.columns), size, strict=True)
        )
        return (rows @ field @ columns.T)[None]
