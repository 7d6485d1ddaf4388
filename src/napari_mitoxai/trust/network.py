"""Asking a network, and explaining it, about patches that lie in memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import nn

from napari_mitoxai.common import CancelToken
from napari_mitoxai.explain.attribution import attribute_many
from napari_mitoxai.explain.filling import refuse_not_finite
from napari_mitoxai.explain.plan import Score, Wanted
from napari_mitoxai.models import CancellingMode


class Network:
    """A classifier and the score of it that is explained.

    Parameters
    ----------
    model : torch.nn.Module
        Patches (n, C, H, W) → logits (n, classes); used in evaluation mode.
    score : Score
        Which of its numbers.
    batch_size : int
        Patches computed at once.
    cancel : CancelToken, optional
        Looked at between layers.
    """

    def __init__(
        self, model: nn.Module, score: Score, *, batch_size: int = 8, cancel: CancelToken | None = None
    ) -> None:
        self.model = model.eval()
        self.score = score
        self._batch_size = batch_size
        self._cancel = cancel or CancelToken()
        self._device = next((each.device for each in model.parameters()), torch.device("cpu"))

    def with_model(self, model: nn.Module) -> "Network":
        """The same question to another network."""
        return Network(model, self.score, batch_size=self._batch_size, cancel=self._cancel)

    def logits(self, patches: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the network says of patches (n, classes)."""
        with self._cancelling(), torch.inference_mode():
            answers = [self.model(batch).double().cpu().numpy() for batch in self._batches(patches)]
        return np.concatenate(answers)

    def scores(self, patches: NDArray[np.float32]) -> NDArray[np.float64]:
        """The score that is explained, of patches (n,)."""
        return self.read(self.logits(patches))

    def read(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score that is explained, given logits (..., classes): of the target, or of that against another class."""
        values = logits if self.score.output == "logit" else softmax(logits, axis=-1)
        own = values[..., self.score.target]
        return own if self.score.against is None else own - values[..., self.score.against]

    def probability(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability of the target, given logits (..., classes)."""
        return np.asarray(softmax(logits, axis=-1)[..., self.score.target])

    def explain(self, wanted: Wanted, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """A method's maps of patches (n, C or 1, H, W).

        Raises
        ------
        Unsuitable
            If the method has no meaning for this network.
        MitoxaiError
            If a map is not finite.
        """
        asked = {wanted.label: wanted.parameters.model_dump()}
        maps = []
        for batch in self._batches(patches):
            with self._cancelling():
                answer = attribute_many(
                    self.model, batch, asked, self.score.target, against=self.score.against, output=self.score.output
                )  # fmt: skip
            maps.append(answer.maps[wanted.label].float().contiguous().cpu().numpy())
        whole = np.concatenate(maps)
        refuse_not_finite({wanted.label: whole}, "the judged patches")
        return whole

    def _batches(self, patches: NDArray[np.float32]) -> Iterator[torch.Tensor]:
        for first in range(0, len(patches), self._batch_size):
            batch = np.ascontiguousarray(patches[first : first + self._batch_size], np.float32)
            yield torch.from_numpy(batch).to(self._device, memory_format=torch.channels_last)

    def _cancelling(self) -> AbstractContextManager[object]:
        self._cancel.check()
        return CancellingMode(self._cancel)
