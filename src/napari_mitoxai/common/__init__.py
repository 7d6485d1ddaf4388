"""What every room uses: errors for people, progress and cancel, writing files safely, provenance."""

from napari_mitoxai.common.errors import MitoxaiError
from napari_mitoxai.common.progress import Cancelled, CancelToken, Progress, ProgressCallback, no_progress

__all__ = ["CancelToken", "Cancelled", "MitoxaiError", "Progress", "ProgressCallback", "no_progress"]
