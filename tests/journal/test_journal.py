"""The journal's folder, its writer and a vendor's cursor."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from eventtree.errors import JournalError
from eventtree.journal import DiskFiles, Journal, MemoryFiles
from eventtree.journal.cursor import Cursor


def test_folder_and_files_are_the_users_alone(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    journal = Journal(DiskFiles(folder))
    journal.append(b'{"r":"note","id":"a","tree":"a"}')
    assert journal.salt == Journal(DiskFiles(folder)).salt
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_symlink_loose_permissions_or_a_file_are_refused(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    with pytest.raises(JournalError, match="symlink"):
        DiskFiles(tmp_path / "link")
    (real / "x").touch()
    real.chmod(0o755)
    with pytest.raises(JournalError, match="chmod 700"):
        DiskFiles(real)
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="not a folder"):
        DiskFiles(tmp_path / "file")
    with pytest.raises(JournalError, match=r"embedded null byte.*Name a writable folder"):
        DiskFiles(tmp_path / "nu\0l")


def test_a_link_or_anothers_file_in_the_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "j"
    DiskFiles(folder).append("salt", b"s" * 32)
    (tmp_path / "target").write_bytes(b"t" * 32)
    (folder / "x.log").symlink_to(tmp_path / "target")
    with pytest.raises(JournalError, match=r"x\.log in it is a symlink"):
        DiskFiles(folder)
    (folder / "x.log").unlink()
    lstat = Path.lstat
    monkeypatch.setattr(Path, "lstat", lambda path: _anothers(lstat(path)) if path.name == "salt" else lstat(path))
    with pytest.raises(JournalError, match="salt in it belongs to another user"):
        DiskFiles(folder)


def _anothers(found: os.stat_result) -> os.stat_result:
    return os.stat_result([*found[:4], found.st_uid + 1, *found[5:]])


class RefusingFiles(MemoryFiles):
    """A disk that can be made to refuse."""

    full = False

    def append(self, name: str, data: bytes) -> None:
        if self.full and name.endswith(".log"):
            raise OSError(28, "No space left on device")
        super().append(name, data)


def test_f11_while_the_disk_refuses_records_wait_in_memory_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    files = RefusingFiles()
    journal = Journal(files, held_bytes=10_000)
    journal.append(b'{"n":0}')
    files.full = True
    for number in range(1, 20):
        journal.append(b'{"n":%d}' % number)
    assert journal.held > 0
    assert journal.dropped == 0
    files.full = False
    journal.flush_held()
    payloads = files.read(journal.log, 0, 1 << 20).split(b"\n")[1:-1]
    assert [line.split(b" ", 2)[2] for line in payloads] == [b'{"n":%d}' % number for number in range(20)]


def test_f11_what_memory_cannot_hold_is_counted() -> None:
    files = RefusingFiles()
    files.full = True
    journal = Journal(files, held_bytes=400)
    for _ in range(50):
        journal.append(b'{"x":"0123456789"}')
    assert 0 < journal.dropped < 50


def test_f13_a_forked_child_writes_a_log_of_its_own(tmp_path: Path) -> None:
    journal = Journal(DiskFiles(tmp_path / "j"))
    journal.append(b'{"from":"parent"}')
    child = os.fork()
    if child == 0:
        journal.append(b'{"from":"child"}')
        os._exit(0)
    os.waitpid(child, 0)
    journal.append(b'{"from":"parent"}')
    assert len(journal.logs()) == 2
    texts = {journal.files.read(name, 0, 10_000).count(b"child") for name in journal.logs()}
    assert texts == {0, 1}


def test_a_live_writer_is_told_from_a_dead_one(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    journal = Journal(DiskFiles(folder))
    read, write = os.pipe()
    go_read, go_write = os.pipe()
    child = os.fork()
    if child == 0:
        journal.append(b'{"from":"child"}')
        os.write(write, journal.process.encode())
        os.read(go_read, 1)
        os._exit(0)
    process = os.read(read, 200).decode()
    assert journal.is_alive(process)
    assert journal.is_alive(journal.process)
    os.write(go_write, b"x")
    os.waitpid(child, 0)
    assert not journal.is_alive(process)


def test_a_cursor_reads_back_what_it_wrote_and_survives_compaction() -> None:
    files = MemoryFiles()
    cursor = Cursor(files, "v.f.cursor")
    cursor.ack({"t1": (["a", "b"], 2, 0), "t2": (["c"], 0, 1)})
    cursor.settle("t1", 3, {"internal": 1}, {"x.log": 100})
    cursor.learn({"project_id": "p"})
    cursor.park("HTTP 401")
    for _ in range(2):
        again = Cursor(files, "v.f.cursor")
        assert (again.accepted, again.delivered, again.dead, dict(again.dropped)) == (3, 2, 1, {"internal": 1})
        assert again.partly == {"t2": {"c"}}
        assert again.learned == {"project_id": "p"}
        assert again.parked == "HTTP 401"
        assert again.is_settled("t1", {"x.log": 100})
        again.advance({})
        again.settle("t9", 0, {}, {})
    assert not Cursor(files, "v.f.cursor").is_settled("t2", {"x.log": 200})


def test_trees_before_the_offsets_are_settled_though_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventtree.journal.cursor.KEPT_TREES", 1)
    cursor = Cursor(MemoryFiles(), "v.f.cursor")
    cursor.settle("t1", 1, {}, {"x.log": 100})
    cursor.settle("t0", 1, {}, {"x.log": 50})
    cursor.advance({"x.log": 100})
    assert "t1" not in cursor.settled
    assert cursor.is_settled("t1", {"x.log": 100})
    assert not cursor.is_settled("t2", {"x.log": 101})


def test_logs_of_one_process_are_listed_in_the_order_it_wrote_them() -> None:
    files = MemoryFiles()
    for number in (10_000, 2, 9_999):
        files.append(f"20261128T000000-1-ab.{number:04d}.log", b"")
    assert [name.split(".")[1] for name in Journal(files).logs()] == ["0002", "9999", "10000"]
