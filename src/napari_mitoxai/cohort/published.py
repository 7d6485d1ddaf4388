"""Published sections that may be downloaded: what they are, where they lie, and how it is known that they are the right ones.

The repository Explainable_mitoML has sections of Warren et al. 2020 (Sci Rep 10:15336) under the MIT licence, one 8-bit JPEG a
channel, stretched from the 5th to the 95th percentile. As the 5th is 0 and counts are small, the JPEGs give back the ion counts up to the 95th
percentile N: ``round(value * N / 255)``.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_mitoxai.cohort.table import Member, write_table
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import remove, sha256, written_beside
from napari_mitoxai.imc import Panel, parse_channel, write_section

COMMIT = "fb4965dd5bbf0faf5088ec2a6c167fdd7afa5278"
ADDRESS = f"https://raw.githubusercontent.com/atifkhanncl/Explainable_mitoML/{COMMIT}/Dataset/"

_CHANNELS = (
    "153Eu SDHA", "158Gd TOM22", "160Gd NDUFB8", "161Dy OSCP", "164Dy GRIM19", "166Er VDAC1", "168Er COX4", "172Yb MTCO1",
    "174Yb UqCRC2", "176Yb Dystrophin",
)  # fmt: skip


@dataclass(frozen=True)
class _Published:
    """One section: in which folder its files lie, the counts that 255 stands for, and what the decoded counts hash to.

    `counts` is the SHA-256 of the decoded stack, (C, Y, X) uint16 little-endian. `files` is that of each JPEG, where it
    is known.
    """

    folder: str
    group: str
    levels: tuple[int, ...]
    counts: str
    files: tuple[str, ...] = ()


SECTIONS = {
    "C01": _Published(
        "controls",
        "control",
        (8, 2, 6, 6, 6, 3, 14, 3, 7, 5),
        "de5d0911d0ee5d93b1d737f5410efed890ff7f9796ceedc95d2df1c3c7ad443d",
        (
            "981617838eb3c2d1592ceb2fbb52522b1a02f2de204f8dc1f822cc02e2a4c7d4",
            "b684bcc49ea6e05c148664d8db0462b81bc8619b34cfa709a4a96de354145b3c",
            "d1420b4bfd5cb861e9920c641daf513541ab8709e612187a5b50269bbdcd670f",
            "dcf82f2dbd4f2f8ebb4d045dd74ff279590242bc0b0fcf33c3a1ba996bb4c5dc",
            "3ed19fac2cd0b73d43906072b93b798ba14f22ed6372e97ed6c7b56fe2ad0949",
            "7067c838daeef8039ca7024d4fa47c4ae39a0fc02a1207c084a6521c5fd56ad6",
            "536ac405e99ecbe1d5b624b20e7578981887a194be96ac8456ff22a95de5bf29",
            "3a83c05f465edfc6c0b3c264f4978d0c343ea4e11d13f5663960664a28895835",
            "7a7387d9f281a61c21afab30366b28e165f84a2f6f4032fe34713bd14c68de6c",
            "17ce8ed8cefecfd92732a8909c4551b5c89d3716ee09a4b43a01f91c07a65a7c",
        ),
    ),
    "C03": _Published(
        "controls",
        "control",
        (18, 3, 10, 13, 11, 5, 30, 6, 17, 9),
        "7e61930fce873a0c0930b7a970dd3768b61a4555177a61c5180f0e0d1f789218",
    ),
    "P01": _Published(
        "patients",
        "patient",
        (31, 1, 1, 22, 2, 4, 40, 7, 28, 4),
        "c04d86a31e687a584d50439c98c6def3601270261358a2596d462c6c6d6da86d",
    ),
    "P08": _Published(
        "patients",
        "patient",
        (28, 1, 1, 24, 2, 4, 7, 1, 8, 4),
        "e32c252c871c0c07497818b46700f7e070323bf276915826397410c314dafd21",
    ),
    "P09": _Published(
        "patients",
        "patient",
        (21, 1, 6, 11, 6, 5, 26, 4, 9, 6),
        "ccd3d5bbf28b3501183a48cf9f562bc3da3f156c49346e49374201ac70329212",
    ),
}

_README = f"""Sections of skeletal muscle by imaging mass cytometry: two controls (C..) and three patients with mitochondrial disease (P..).

Data: Warren et al. 2020, Decoding mitochondrial heterogeneity in single muscle fibres by imaging mass cytometry,
Scientific Reports 10:15336, https://doi.org/10.1038/s41598-020-70885-3
Downloaded from: {ADDRESS}

The files there are JPEGs, 8-bit, each stretched from its 5th to its 95th percentile N. They were decoded to ion counts by
round(value * N / 255), so that counts are clipped at N. N of COX4 in P01 is an estimate.

{{licence}}"""
# of the repository they are downloaded from, as it asks to be passed on
_LICENCE = """MIT License

Copyright (c) 2022 atifkhanncl

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def download(
    folder: Path | str,
    *,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> Path:
    """Download the published sections, check them, and write them as OME-TIFFs of counts with a cohort table.

    Every file whose SHA-256 is known is checked by it, and every section by that of its decoded counts. What is there
    already is not downloaded again.

    Parameters
    ----------
    folder : Path
        Gets ``C01.ome.tiff`` and so on, ``cohort.csv`` and a ``README.txt`` with origin and licence.
    progress, cancel
        Reported and checked after every piece of a file.

    Returns
    -------
    Path
        The cohort table.

    Raises
    ------
    MitoxaiError
        If there is no connection, or what came is not what was published; what is finished is kept.
    Cancelled
        If it was cancelled; what is finished is kept.
    """
    folder, cancel = Path(folder).expanduser(), cancel or CancelToken()
    table = folder / "cohort.csv"
    if table.exists():
        return table
    parts = folder / ".download"
    total = len(SECTIONS) * len(_CHANNELS)
    for number, (subject, published) in enumerate(SECTIONS.items()):
        stack = folder / f"{subject}.ome.tiff"
        if stack.exists():
            continue
        files = []
        for channel, name in enumerate(_CHANNELS):
            done = number * len(_CHANNELS) + channel

            def told(share: float, done: int = done, detail: str = f"{subject} {name.split()[1]}") -> None:
                progress(Progress("Downloading", done + share, total, detail))

            known = published.files[channel] if published.files else None
            url = f"{ADDRESS}{published.folder}/{subject}/{quote(_file_name(subject, name))}"
            files.append(_fetch(url, parts / _file_name(subject, name), known, told, cancel))
        counts = _decoded(files, published.levels, subject)
        if hashlib.sha256(counts.astype("<u2").tobytes()).hexdigest() != published.counts:
            for file in files:
                remove(file)
            raise MitoxaiError(
                f"{subject} as downloaded is not the published section (its SHA-256 is another): try again later; nothing of it was kept."
            )
        panel = Panel(
            tuple(parse_channel(name.split()[1], name.split()[0], source="OME name") for name in _CHANNELS)
        )
        write_section(stack, counts, panel)
    with written_beside(folder / "README.txt", overwrite=True) as partial:
        partial.write_text(_README.format(licence=_LICENCE), encoding="utf-8")
    members = [
        Member((folder / f"{subject}.ome.tiff").resolve(), subject, each.group)
        for subject, each in SECTIONS.items()
    ]
    remove(parts)
    progress(Progress("Downloading", total, total))
    return write_table(table, members)


def _file_name(subject: str, channel: str) -> str:
    return f"{subject}_{subject}_{subject}_{channel.split()[0]}_{channel}.jpg"


class _Meter:
    """What pooch calls a progress bar: it also stops the download when that is asked for."""

    total = 0

    def __init__(self, told: Callable[[float], None], cancel: CancelToken) -> None:
        self._told, self._cancel, self._done = told, cancel, 0

    def update(self, size: int) -> None:
        """So many bytes more are there."""
        self._cancel.check()
        self._done += size
        self._told(min(self._done / self.total, 1.0) if self.total else 0.0)

    def reset(self) -> None:
        """Begin again."""
        self._done = 0

    def close(self) -> None:
        """Nothing is open."""


def _fetch(
    url: str, path: Path, known: str | None, told: Callable[[float], None], cancel: CancelToken
) -> Path:
    """Download one file to `path`, unless it is there."""
    cancel.check()
    told(0.0)
    if path.exists() and (known is None or sha256(path) == known):
        return path
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # what it would say is said by the progress
    meter: Any = _Meter(told, cancel)
    host = urlsplit(url).netloc
    try:
        pooch.retrieve(
            url, known and f"sha256:{known}", fname=path.name, path=path.parent,
            downloader=pooch.HTTPDownloader(progressbar=meter, chunk_size=2**16, timeout=30),
        )  # fmt: skip
    except requests.HTTPError as error:
        answer = error.response.status_code if error.response is not None else "nothing"
        raise MitoxaiError(
            f"{host} does not have {path.name} (it answered {answer}): try again later."
        ) from error
    except requests.RequestException as error:
        raise MitoxaiError(
            f"{path.name} could not be downloaded, as there is no connection to {host}: connect to the internet and try again; "
            "what is there already is kept."
        ) from error
    except ValueError as error:  # pooch's word for another hash
        raise MitoxaiError(
            f"{path.name} as downloaded from {host} is not the published file (its SHA-256 is another): try again later; it was not kept."
        ) from error
    except OSError as error:
        raise MitoxaiError(
            f"{path.name} could not be written ({error.strerror or error}): free the disk or choose another place."
        ) from error
    return path


def _decoded(files: list[Path], levels: tuple[int, ...], subject: str) -> NDArray[np.uint16]:
    """The counts (C, Y, X) that the stretched JPEGs of a section stand for."""
    planes = []
    try:
        for file, level in zip(files, levels, strict=True):
            with Image.open(file) as picture:
                planes.append(np.round(np.asarray(picture.convert("L"), np.float64) * level / 255))
        return np.stack(planes).astype(np.uint16)
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises on something else
        for file in files:
            remove(file)
        raise MitoxaiError(
            f"{subject} as downloaded is not readable ({type(error).__name__}): try again later; nothing of it was kept."
        ) from error
