"""Changed files, opened in a process that can be killed: what a worker does, and how its cases are handed out."""

import json
import multiprocessing
import random
import re
import shutil
import sys
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

LIMIT_S = 10
_MEMORY = 8 * 2**30  # of address space; a machine must not suffer from a file that is too much
_GREEDY = 1.5 * 2**30  # of memory in use, beyond which a file has had its way


def change(content: bytes, rng: random.Random) -> bytes:
    """A file with something wrong with it: most often in its first or last bytes, where the metadata are."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 1, 2, 5])):
        if not content:
            break
        size = len(content)
        place = min(
            size - 1,
            rng.choice(
                [
                    rng.randrange(size),
                    rng.randrange(min(size, 1000)),
                    size - 1 - rng.randrange(min(size, 4000)),
                ]
            ),
        )
        kind = rng.randrange(8)
        if kind < 3:
            content[place] = rng.randrange(256)
        elif kind == 3:
            content[place : place + 4] = rng.choice(
                [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\1\0"]
            )
        elif kind == 4:
            del content[place : None if rng.random() < 0.3 else place + rng.randrange(1, 300)]
        elif kind == 5:
            start = rng.randrange(size)
            content[place:place] = content[start : start + rng.randrange(1, 300)]
        else:  # a number in a text becomes another
            numbers = list(re.finditer(rb"\d+|\d\0(?:\d\0)*", content))
            if numbers:
                match = rng.choice(numbers)
                new = rng.choice(
                    [b"0", b"-1", b"1e9", b"99999999999999999999", b"4294967296", b"65536", b"nan", b""]
                )
                if b"\0" in match.group():
                    new = b"".join(bytes([byte, 0]) for byte in new)
                content[match.start() : match.end()] = new
    return bytes(content)


def changed(source: Path, target: Path, rng: random.Random) -> None:
    """A copy of a file, or of a folder with one of its files, that was changed."""
    if source.is_dir():
        shutil.copytree(source, target)
        files = sorted(path for path in target.rglob("*") if path.is_file())
        described = [path for path in files if path.suffix in (".json", ".csv") or path.name.startswith(".z")]
        path = rng.choice(described if described and rng.random() < 0.8 else files)
        path.chmod(0o644)
        path.write_bytes(change(path.read_bytes(), rng))
    else:
        target.write_bytes(change(source.read_bytes(), rng))


def look(path: Path) -> str:
    """Do with a file what a user does first; ``opened`` or ``refused``, anything else is a defect."""
    from napari_mitoxai.common import MitoxaiError
    from napari_mitoxai.imc import read_labels, read_panoramas, read_section

    outcomes = []
    if "mask" in path.name:
        jobs = [lambda: read_labels(path)]
    else:
        jobs = [lambda: see(read_section(path))]
        if path.suffix == ".mcd":
            jobs.append(lambda: [panorama.read() for panorama in read_panoramas(path)])
    for job in jobs:
        try:
            job()
            outcomes.append("opened")
        except MitoxaiError as error:
            text = str(error)
            if "\n" in text or len(text) > 900:
                return f"a message of {len(text)} characters: {text[:2000]!r}"
            outcomes.append("refused")
    return "opened" if "opened" in outcomes else "refused"


def see(section: object) -> None:
    """What a viewer asks for: the names, a corner of some channels, the contrast of one."""
    json.dumps([[channel.label, channel.source] for channel in section.panel])
    section.read(range(min(len(section.panel), 8)), y=slice(0, 64), x=slice(0, 64))
    section.percentiles(0, [1, 99])


def work(pipe: Connection) -> None:
    """Look at one file after the other until there are no more."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    except ImportError:  # not on Windows
        resource = None
    import napari_mitoxai.imc  # noqa: F401 - so that its import is not counted as the first file's time

    warnings.simplefilter("error", RuntimeWarning)  # numpy's, which a user would see
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if resource else 0
    pipe.send("ready")
    while (path := pipe.recv()) is not None:
        try:
            outcome = look(path)
        except Exception:  # noqa: BLE001 - any other exception is what is looked for
            outcome = traceback.format_exc()
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before if resource else 0
        pipe.send(outcome if used < _GREEDY else f"{used / 2**20:.0f} MB taken")


class Worker:
    """A process that looks at files; it is made anew where one killed it."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(120):
            sys.exit("the worker does not start")
        self._pipe.recv()

    def look(self, path: Path) -> str:
        """What came of a file: ``opened``, ``refused`` or a defect."""
        try:
            self._pipe.send(path)
            if self._pipe.poll(LIMIT_S):
                return str(self._pipe.recv())
            outcome = f"no answer in {LIMIT_S} s"
        except (EOFError, OSError):
            self._process.join(10)
            outcome = f"crashed (exit code {self._process.exitcode})"
        self.close()
        self._start()
        return outcome

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._pipe.close()
