"""Rows that a kill cannot reach: what was added is there for the next process, whole, and nothing else is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chatbackend.infra.db.spool import Spool

ROW = b"a row of a ledger"
DIES = """
import os, signal, sys
from pathlib import Path
from chatbackend.infra.db.spool import Spool
spool = Spool(Path(sys.argv[1]), 4096).__enter__()
for number in range(10):
    assert spool.add(b"row %d" % number)
spool.turn()
assert spool.add(b"the other half")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_rows_of_both_halves_outlive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    died = subprocess.run([sys.executable, "-c", DIES, path], check=False)  # our own program
    assert died.returncode == -signal.SIGKILL
    with Spool(path, 4096) as spool:
        assert spool.rows() == [*(b"row %d" % number for number in range(10)), b"the other half"]
        spool.clear()
        assert spool.rows() == []
        assert spool.add(ROW)
        assert spool.rows() == [ROW]


def test_nothing_is_left_of_rows_that_were_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    with Spool(path, 4096) as spool:
        assert spool.add(ROW * 9)
        assert spool.turn() == 0
        assert spool.add(ROW)
        spool.free(0)
        assert path.read_bytes().count(ROW) == 1
        assert spool.turn() == 1
        spool.free(1)
        assert not any(path.read_bytes())
        assert spool.add(ROW)
    with Spool(path, 4096) as spool:
        assert spool.rows() == [ROW]
        spool.clear()
        assert not any(path.read_bytes())
        assert spool.add(ROW)
        spool.clear()
        assert not any(path.read_bytes())


def test_a_half_takes_rows_until_it_is_full_and_again_once_it_is_free(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", 256) as spool:
        count = 0
        while spool.add(ROW):
            count += 1
        assert spool.rows() == [ROW] * count
        assert count == (256 - 8) // (len(ROW) + 8)
        first = spool.turn()
        assert first is not None
        assert spool.add(b"next")
        assert spool.turn() is None  # the first half is not free yet
        spool.free(first)
        assert spool.rows() == [b"next"]
        assert spool.turn() == 1 - first
        assert spool.add(b"again")
        assert sorted(spool.rows()) == [b"again", b"next"]


def test_a_new_row_never_brings_back_the_old_ones_behind_it(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", 256) as spool:
        for _ in range(5):
            spool.add(ROW)
        spool.clear()
        spool.add(ROW)
        assert spool.rows() == [ROW]


@pytest.mark.parametrize("spoilt", [8, 8 + len(ROW) - 1, 4, 0])
def test_a_row_that_was_cut_short_is_none(tmp_path: Path, spoilt: int) -> None:
    path = tmp_path / "spool"
    with Spool(path, 256) as spool:
        spool.add(ROW)
        spool.add(ROW)
    at = len(ROW) + 8 + spoilt
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    with Spool(path, 256) as spool:
        assert (spool.rows(), spool.damaged) == ([ROW], 0)


@pytest.mark.parametrize("spoilt", [8, 4])
def test_a_damaged_row_hides_none_behind_it(tmp_path: Path, spoilt: int) -> None:
    path = tmp_path / "spool"
    with Spool(path, 256) as spool:
        for row in (b"before", ROW, b"behind"):
            spool.add(row)
    data = bytearray(path.read_bytes())
    data[len(b"before") + 8 + spoilt] ^= 0xFF
    path.write_bytes(data)
    with Spool(path, 256) as spool:
        assert (spool.rows(), spool.damaged) == ([b"before", b"behind"], 1)
        spool.clear()
        assert (spool.rows(), spool.damaged) == ([], 0)


def test_a_file_of_another_size_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    path.write_bytes(b"\xff" * 1000)
    with Spool(path, 256) as spool:
        assert spool.rows() == []
    assert path.stat().st_size == 512
    assert os.stat(path).st_blocks * 512 >= 512  # no hole: a disk that is full says so at the start


def test_holes_that_a_copy_has_left_are_filled_and_the_rows_kept(tmp_path: Path) -> None:
    path, half = tmp_path / "spool", 1 << 16
    with Spool(path, half) as spool:
        spool.add(ROW)
        begun = spool.turn()
        assert begun is not None
        spool.add(b"next")
    data = path.read_bytes()
    with path.open("wb") as copy:  # as tar and rsync do it when they are told to
        copy.truncate(len(data))
        for at in range(0, len(data), half):
            copy.seek(at)
            copy.write(data[at : at + 64])
    assert os.stat(path).st_blocks * 512 < 2 * half
    with Spool(path, half) as spool:
        assert spool.rows() == [ROW, b"next"]
    assert os.stat(path).st_blocks * 512 >= 2 * half
