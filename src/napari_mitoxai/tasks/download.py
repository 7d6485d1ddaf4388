"""Download a published cohort: two controls and three patients of Warren et al. 2020, as ion counts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from napari_mitoxai.common import CancelToken, ProgressCallback, no_progress
from napari_mitoxai.common.files import refuse_existing
from napari_mitoxai.tasks.parameters import TaskParameters


class DownloadParameters(TaskParameters):
    """What to download, and where to."""

    sample: Literal["warren2020"] = Field(
        title="Sample",
        description="Which published sections: warren2020, about 80 MB, MIT licence.",
        json_schema_extra={"argument": True},
    )
    out: Path = Field(
        title="Folder",
        description="Gets a section a subject, a cohort.csv, and a README.txt with the licence.",
    )


@dataclass(frozen=True)
class DownloadResult:
    """A downloaded cohort.

    Attributes
    ----------
    cohort : Path
        Its table.
    """

    cohort: Path


def run(
    parameters: DownloadParameters,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> DownloadResult:
    """Download a cohort and check it by its SHA-256; the same call goes on where one was stopped.

    Raises
    ------
    MitoxaiError
        If there is a cohort in the folder already, no connection, or what came is not what was published.
    Cancelled
        If it was cancelled; what is finished is kept.
    """
    from napari_mitoxai.cohort import TABLE
    from napari_mitoxai.cohort.published import download

    refuse_existing(parameters.out / TABLE)
    return DownloadResult(download(parameters.out, progress=progress, cancel=cancel))
