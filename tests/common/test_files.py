import errno
import threading
import time
from pathlib import Path

import pytest

from napari_mitoxai.common import Cancelled, CancelToken, MitoxaiError
from napari_mitoxai.common.files import (
    read_json,
    refuse_existing,
    refuse_foreign,
    refuse_input,
    write_json,
    written_beside,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail_while_writing(target):
    def write():
        with written_beside(target, overwrite=True) as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()


def test_a_failed_block_leaves_neither_the_file_nor_a_part_of_it(tmp_path):
    fail_while_writing(tmp_path / "a.txt")
    assert names(tmp_path) == []


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    fail_while_writing(target)
    assert target.read_text() == "old"
    with written_beside(target, overwrite=True) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "run"
    (target / "inner").mkdir(parents=True)
    (target / "inner" / "old").write_text("old")
    with written_beside(target, overwrite=True) as partial:
        partial.mkdir()
        (partial / "new").write_text("new")
    assert names(target) == ["new"]
    assert names(tmp_path) == ["run"]


def test_the_partial_file_keeps_the_ending_that_writers_look_at(tmp_path):
    with written_beside(tmp_path / "a.ome.tiff") as partial:
        assert partial.name.endswith(".ome.tiff")
        assert partial.name.startswith(".")
        partial.write_text("x")


def test_an_existing_output_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(MitoxaiError, match=r"a exists already.*--overwrite"):
        refuse_existing(tmp_path / "a")
    refuse_existing(tmp_path / "a", overwrite=True)


def test_an_impossible_parent_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(MitoxaiError, match="cannot be made"):
        refuse_existing(tmp_path / "file" / "out")


def test_overwriting_spares_a_folder_of_another_kind(tmp_path):
    (tmp_path / "data").mkdir()
    refuse_foreign(tmp_path / "data", "checkpoint.json", "a run")  # empty: nothing to lose
    refuse_foreign(tmp_path / "missing", "checkpoint.json", "a run")
    (tmp_path / "data" / "section.tiff").write_text("irreplaceable")
    with pytest.raises(MitoxaiError, match="data is not a run and is not replaced"):
        refuse_foreign(tmp_path / "data", "checkpoint.json", "a run")
    (tmp_path / "data" / "checkpoint.json").write_text("{}")
    refuse_foreign(tmp_path / "data", "checkpoint.json", "a run")


def test_an_output_cannot_replace_its_input(tmp_path):
    section = tmp_path / "data" / "a.tiff"
    refuse_input(tmp_path / "b.tiff", section, None)
    for out in (section, tmp_path / "data", tmp_path / "data" / ".." / "data" / "a.tiff"):
        with pytest.raises(MitoxaiError, match="made from"):
            refuse_input(out, section)


def test_json_round_trip_and_damage(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"µ": [1, None, tmp_path]})
    assert read_json(path) == {"µ": [1, None, str(tmp_path)]}
    path.write_text('{"cut": ')
    with pytest.raises(MitoxaiError, match=r"a\.json is not readable JSON"):
        read_json(path)
    with pytest.raises(MitoxaiError, match="not there"):
        read_json(tmp_path / "b.json")


def test_json_never_holds_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert names(tmp_path) == []


def test_a_token_set_in_another_thread_raises_at_the_next_check():
    token = CancelToken()
    token.check()
    threading.Timer(0.01, token.cancel).start()
    deadline = time.monotonic() + 5
    while not token.cancelled and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(Cancelled):
        token.check()


def test_a_read_only_disk_is_one_sentence(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    # such a disk refuses before it looks whether the file is there
    monkeypatch.setattr(Path, "unlink", refuse)
    said = pytest.raises(MitoxaiError, match=r"a.csv could not be written \(Read-only file system\)")
    with said, written_beside(tmp_path / "a.csv"):
        refuse()
