"""One picture under two names: the way a test subject gets into training without anybody noticing."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_mitoxai.common import MitoxaiError


def patch_hashes(counts: Iterable[NDArray[np.float32]]) -> list[str]:
    """SHA-256 of each patch's counts; empty for a patch in which no channel varies, as such patches are alike by nature."""
    return [
        hashlib.sha256(np.ascontiguousarray(patch).tobytes()).hexdigest()
        if (patch != patch[:, :1, :1]).any()
        else ""
        for patch in counts
    ]


def refuse_shared(hashes: Sequence[str], subjects: Sequence[str], sections: Sequence[str]) -> list[int]:
    """Find pictures that are in a cohort twice.

    Parameters
    ----------
    hashes : sequence of str
        Of patches, from `patch_hashes`.
    subjects, sections : sequence of str
        Whose each patch is, and the name of its section.

    Returns
    -------
    list of int
        Indices of patches that repeat an earlier one of the same subject: they add nothing.

    Raises
    ------
    MitoxaiError
        If two subjects share a patch: one of the names is wrong, and a split by subject would not separate them.
    """
    first: dict[str, int] = {}
    repeated = []
    for index, value in enumerate(hashes):
        if not value:
            continue
        earlier = first.setdefault(value, index)
        if earlier == index:
            continue
        if subjects[earlier] != subjects[index]:
            raise MitoxaiError(
                f"{sections[earlier]} of {subjects[earlier]} and {sections[index]} of {subjects[index]} show the same image: "
                "give both the same subject, or take one out of the cohort."
            )
        repeated.append(index)
    return repeated
