"""The container's limit counts, as far as it can be read."""

import os
from pathlib import Path

import pytest

from service.engine.cpu import cpu_limit

CPUS = 6


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CPUS)), raising=False)


def write(cgroup: Path, **files: bytes) -> Path:
    """A cgroup folder with these files."""
    for name, content in files.items():
        path = cgroup / {"max": "cpu.max", "quota": "cpu/cpu.cfs_quota_us", "period": "cpu/cpu.cfs_period_us"}[name]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return cgroup


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (b"max 100000\n", CPUS),
        (b"50000 100000\n", 1),
        (b"100000 100000\n", 1),
        (b"150000 100000\n", 2),
        (b"400000 100000\n", 4),
        (b"25000 10000\n", 3),
        (b"9900000 100000\n", CPUS),
        (b"1 1000000\n", 1),
    ],
)
def test_version_2(tmp_path: Path, limit: bytes, expected: int) -> None:
    assert cpu_limit(write(tmp_path, max=limit)) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        (b"-1\n", b"100000\n", CPUS),
        (b"50000\n", b"100000\n", 1),
        (b"150000\n", b"100000\n", 2),
        (b"300000\n", b"100000\n", 3),
        (b"9900000\n", b"100000\n", CPUS),
    ],
)
def test_version_1(tmp_path: Path, quota: bytes, period: bytes, expected: int) -> None:
    assert cpu_limit(write(tmp_path, quota=quota, period=period)) == expected


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\n", b"100000", b"a b", b"\xff\xfe 1", b"0 0", b"100000 0", b"0 100000", b"1.5 1.0", b"-5 100000"],
)
def test_what_makes_no_sense_sets_no_limit(tmp_path: Path, garbage: bytes) -> None:
    assert cpu_limit(write(tmp_path, max=garbage)) == CPUS
    (tmp_path / "cpu.max").unlink()
    quota, period, *_ = (*garbage.split(), b"", b"")
    assert cpu_limit(write(tmp_path, quota=quota, period=period)) == CPUS


def test_version_2_goes_before_version_1(tmp_path: Path) -> None:
    assert cpu_limit(write(tmp_path, max=b"200000 100000", quota=b"300000", period=b"100000")) == 2


def test_without_a_cgroup_affinity_counts(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path / "missing") == CPUS
    (tmp_path / "cpu.max").mkdir()
    assert cpu_limit(tmp_path) == CPUS


def test_affinity_may_be_lower_than_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert cpu_limit(write(tmp_path, max=b"400000 100000")) == 1


def test_where_affinity_is_unknown_the_machine_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert cpu_limit(tmp_path) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu_limit(tmp_path) == 1


def test_here_there_is_at_least_one() -> None:
    assert cpu_limit() >= 1
