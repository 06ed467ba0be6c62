"""Asks what is known of holes in the packages that a lock names: `python -m image.audit requirements/service.txt`.

pip-audit asks the package index, so it needs one that knows of advisories. What is known and does no harm here is in
`accepted.toml`, each with its reason and a day on which it is looked at again. Exit codes: 0 nothing is open, 1
something is, 2 not every package could be asked about.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

ACCEPTED: Final = Path(__file__).with_name("accepted.toml")


@dataclass(frozen=True, slots=True)
class Finding:
    """An advisory that holds for a package that a lock names."""

    package: str
    version: str
    advisory: str
    aliases: frozenset[str]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An advisory that does no harm here."""

    package: str
    advisory: str
    reason: str
    until: date

    def covers(self, finding: Finding, today: date) -> bool:
        """Whether it is about this finding, and holds today."""
        named = {finding.advisory, *finding.aliases}
        return self.package == finding.package and self.advisory in named and today <= self.until


def read_acceptances(path: Path) -> list[Acceptance]:
    """What a file accepts.

    Raises:
        TypeError: An entry lacks a key, or has one that it should not have.
    """
    return [Acceptance(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("accepted", [])]


def read_report(report: dict[str, Any]) -> tuple[list[Finding], list[str]]:
    """From pip-audit's JSON: what was found, and the packages that could not be asked about."""
    findings = [
        Finding(entry["name"], entry["version"], hole["id"], frozenset(hole["aliases"]), tuple(hole["fix_versions"]))
        for entry in report["dependencies"]
        for hole in entry.get("vulns", ())
    ]
    return findings, [entry["name"] for entry in report["dependencies"] if "skip_reason" in entry]


def verdict(findings: list[Finding], unasked: list[str], acceptances: list[Acceptance], today: date) -> int:
    """The exit code; says on the way what is open, what is accepted, and what is no longer found."""
    held = {finding: [each for each in acceptances if each.covers(finding, today)] for finding in findings}
    open_findings = [finding for finding, covering in held.items() if not covering]
    for finding in open_findings:
        fix = f"fixed in {', '.join(finding.fixed_in)}" if finding.fixed_in else "no release fixes it"
        _say(f"open      {finding.package} {finding.version}: {finding.advisory}, {fix}")
    for finding, covering in held.items():
        for each in covering:
            _say(
                f"accepted  {finding.package} {finding.version}: {finding.advisory}, until {each.until}: {each.reason}"
            )
    used = {each for covering in held.values() for each in covering}
    for each in acceptances:
        if each not in used and each.package not in unasked:
            _say(f"unused    {each.package}: {each.advisory} is not found, or its time is up")
    if unasked:
        _say(f"not asked {len(unasked)} packages of which this index knows nothing: {', '.join(sorted(unasked))}")
    if open_findings:
        return 1
    return 2 if unasked else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main(arguments: list[str]) -> int:
    """Audits each lock."""
    parser = argparse.ArgumentParser(prog="image.audit", description="What is known of holes in these locks.")
    parser.add_argument("locks", nargs="+", type=Path)
    findings: set[Finding] = set()
    unasked: set[str] = set()
    for lock in parser.parse_args(arguments).locks:
        options = ["--requirement", str(lock), "--no-deps", "--disable-pip", "--format", "json"]
        done = subprocess.run(  # noqa: S603 - our own arguments
            [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", *options],
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
        if not done.stdout.lstrip().startswith("{"):
            _say(f"not asked {lock}: pip-audit ended with {done.returncode}")
            return 2
        found, skipped = read_report(json.loads(done.stdout))
        findings.update(found)
        unasked.update(skipped)
    ordered = sorted(findings, key=lambda finding: (finding.package, finding.advisory))
    return verdict(ordered, sorted(unasked), read_acceptances(ACCEPTED), datetime.now(UTC).date())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
