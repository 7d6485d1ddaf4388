"""Commands as a person types them."""

import os
import shlex
import subprocess


def as_typed(*words: object) -> str:
    """A command line that can be pasted: words with spaces are quoted, as the system's shell wants it."""
    given = [str(word) for word in words]
    return subprocess.list2cmdline(given) if os.name == "nt" else shlex.join(given)
