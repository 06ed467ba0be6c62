"""What the audit makes of pip-audit's answer."""

from __future__ import annotations

import json
import subprocess
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from image import audit
from image.audit import ACCEPTED, Acceptance, read_acceptances, read_report, verdict

if TYPE_CHECKING:
    from pathlib import Path

TODAY = date(2026, 11, 1)
HOLE = {"id": "PYSEC-2026-1", "fix_versions": ["2.1"], "aliases": ["CVE-2026-1"], "description": "Runs code."}
REPORT: dict[str, Any] = {
    "dependencies": [
        {"name": "holey", "version": "2.0", "vulns": [HOLE]},
        {"name": "sound", "version": "1.0", "vulns": []},
    ],
    "fixes": [],
}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found"}


def acceptance(**changes: Any) -> Acceptance:
    given: dict[str, Any] = {"package": "holey", "advisory": "CVE-2026-1", "reason": "unused", "until": TODAY}
    return Acceptance(**given | changes)


def test_what_is_found_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(*read_report(REPORT), [], TODAY) == 1
    assert capsys.readouterr().out == "open      holey 2.0: PYSEC-2026-1, fixed in 2.1\n"


@pytest.mark.parametrize("name", ["PYSEC-2026-1", "CVE-2026-1"])
def test_what_is_accepted_is_not_open(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(*read_report(REPORT), [acceptance(advisory=name)], TODAY) == 0
    assert capsys.readouterr().out.startswith("accepted  holey 2.0: PYSEC-2026-1, until 2026-11-01: unused")


@pytest.mark.parametrize(
    "other", [{"package": "sound"}, {"advisory": "CVE-2026-2"}, {"until": date(2026, 10, 31)}], ids=str
)
def test_an_acceptance_is_for_one_advisory_of_one_package_and_a_time(
    other: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict(*read_report(REPORT), [acceptance(**other)], TODAY) == 1
    assert "unused    " in capsys.readouterr().out


def test_a_package_that_nobody_knows_of_is_not_called_sound(capsys: pytest.CaptureFixture[str]) -> None:
    findings, unasked = read_report({"dependencies": [UNKNOWN, REPORT["dependencies"][1]]})
    assert verdict(findings, unasked, [], TODAY) == 2
    assert "not asked 1 packages of which this index knows nothing: unknown" in capsys.readouterr().out
    assert verdict(*read_report({"dependencies": [UNKNOWN, *REPORT["dependencies"]]}), [], TODAY) == 1


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([REPORT, {"dependencies": []}], 1),
        ([{"dependencies": [UNKNOWN]}, {"dependencies": []}], 2),
        ([{"dependencies": []}, {"dependencies": []}], 0),
        ([None, None], 2),
    ],
    ids=["open", "unknown", "sound", "failed"],
)
def test_each_lock_is_asked_about(
    answers: list[Any], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command[command.index("--requirement") + 1])
        answer = answers[len(asked) - 1]
        return subprocess.CompletedProcess(command, 1, "" if answer is None else json.dumps(answer))

    monkeypatch.setattr(audit.subprocess, "run", run)
    assert audit.main(["one.txt", "two.txt"]) == code
    assert asked == (["one.txt"] if answers[0] is None else ["one.txt", "two.txt"])


def test_the_acceptances_that_ship_can_be_read_and_have_reasons(tmp_path: Path) -> None:
    assert all(each.reason for each in read_acceptances(ACCEPTED))
    example = "\n".join(line.removeprefix("# ") for line in ACCEPTED.read_text().splitlines()[2:])
    path = tmp_path / "accepted.toml"
    path.write_text(example)
    (read,) = read_acceptances(path)
    assert read.until == date(2027, 3, 1)
