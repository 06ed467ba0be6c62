"""What the rules that are shipped become when they are hurried, and which series queries ask for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.loadtests.shipped import hurried, rule_groups, selectors


def test_of_the_shipped_rules_only_minutes_are_changed_and_those_to_seconds() -> None:
    before, after = rule_groups(), hurried(rule_groups())
    durations = 0
    for old_group, new_group in zip(before, after, strict=True):
        for old, new in zip(old_group["rules"], new_group["rules"], strict=True):
            assert {**new, "expr": 0, "for": 0} == {**old, "expr": 0, "for": 0}
            assert ("for" in new) == ("for" in old)
            for was, became in [(old["expr"], new["expr"]), (old.get("for", ""), new.get("for", ""))]:
                assert len(was) == len(became)
                changes = [at for at in range(len(was)) if was[at] != became[at]]
                assert all(was[at] == "m" and became[at] == "s" and was[at - 1].isdigit() for at in changes)
                # All of them: a window ends in a bracket, an offset or a `for` where a word does.
                assert not re.search(r"\d[mhdwy]\b", became)
                durations += len(changes)
        assert {**new_group, "rules": 0} == {**old_group, "rules": 0}
    assert durations > 20


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("rate(a{}[5m]) > 5", "rate(a{}[5s]) > 5"),
        ("a{} unless a{} offset 15m", "a{} unless a{} offset 15s"),
        ('rate(a{b=~"[5m]|offset 5m"}[10m])', 'rate(a{b=~"[5m]|offset 5m"}[10s])'),
        ("time() - a5m{} < 60", "time() - a5m{} < 60"),
    ],
)
def test_windows_and_offsets_in_minutes_become_seconds(expr: str, expected: str) -> None:
    assert hurried([{"name": "g", "rules": [{"expr": expr}]}]) == [{"name": "g", "rules": [{"expr": expected}]}]


@pytest.mark.parametrize(
    "group",
    [
        {"name": "g", "rules": [{"expr": "rate(a{}[30s])"}]},
        {"name": "g", "rules": [{"expr": "rate(a{}[1h30m])"}]},
        {"name": "g", "rules": [{"expr": "max_over_time(a{}[5m:1m])"}]},
        {"name": "g", "rules": [{"expr": "a{} offset 1d"}]},
        {"name": "g", "rules": [{"expr": "a{} offset -5m"}]},
        {"name": "g", "rules": [{"expr": "a{}", "for": "1h"}]},
        {"name": "g", "interval": "1m", "rules": []},
    ],
)
def test_other_durations_cannot_be_hurried(group: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"whole minutes|interval"):
        hurried([group])


def test_the_series_of_a_query_are_found() -> None:
    query = 'sum by (le, pod) (rate(a_b{c="d", e=~"f|g"}[5m])) / on (pod) up{} offset 5m or time() > 1e3'
    assert selectors(query) == {'a_b{c="d", e=~"f|g"}', "up{}"}
    with pytest.raises(ValueError, match="'bare'"):
        selectors("sum(bare) + a{}")
