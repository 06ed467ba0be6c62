"""What is shipped for Prometheus, Grafana and KEDA to ask, read from `k8s/` as it is; and the same rules in a hurry."""

from __future__ import annotations

import copy
import json
import re
from typing import Any, Final

import yaml

from loadtests.load.servers import ROOT

COMPONENTS: Final = ROOT / "k8s/components"
KEYWORDS: Final = {"and", "bool", "group_left", "group_right", "offset", "or", "unless"}
SELECTOR = re.compile(r"[a-zA-Z_:][\w:]*\{[^{}]*\}")
LABEL_LIST = re.compile(r"\b(by|group_left|group_right|ignoring|on|without)\s*\([^()]*\)")
DURATION = re.compile(r'"[^"]*"|(?P<before>\[|\boffset\s+)(?P<minutes>\d+m(?![\w:]))?')
"""What is in quotes, which is left alone, or the beginning of a window or an offset and, if it is in minutes, all."""


def _manifest(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return found


def rule_groups() -> list[dict[str, Any]]:
    """The groups of the PrometheusRule."""
    found: list[dict[str, Any]] = _manifest("k8s/components/prometheus-rule/prometheusrule.yaml")["spec"]["groups"]
    return found


def scraped() -> tuple[str, str, str]:
    """What the ServiceMonitor has scraped: the job, the namespace, and the path."""
    monitor = _manifest("k8s/components/service-monitor/servicemonitor.yaml")
    (endpoint,) = monitor["spec"]["endpoints"]
    # The operator takes the Service's name for the job.
    return _manifest("k8s/base/service.yaml")["metadata"]["name"], monitor["metadata"]["namespace"], endpoint["path"]


def panel_queries(window: str) -> list[tuple[str, str]]:
    """Each panel's title with what it asks, all namespaces and pods chosen, over this window (`5s`)."""
    board = json.loads((COMPONENTS / "grafana-dashboard/greentext.json").read_text(encoding="utf-8"))
    chosen = {"$__rate_interval": window, "$namespace": ".*", "$pod": ".*"}
    found = []
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in chosen.items():
                query = query.replace(name, value)
            found.append((panel["title"], query))
    return found


def scaling_query() -> tuple[str, float]:
    """What KEDA asks, and of which answer on one pod is not enough."""
    triggers = _manifest("k8s/components/keda/scaledobject.yaml")["spec"]["triggers"]
    (trigger,) = (each["metadata"] for each in triggers if each["type"] == "prometheus")
    return trigger["query"], float(trigger["threshold"])


def hurried(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rules, but for one thing: where `for`, a window or an offset says minutes, it says as many seconds.

    Raises ValueError where one of them is not in whole minutes, or a group has an interval of its own.
    """
    found = copy.deepcopy(groups)
    for group in found:
        if "interval" in group:
            raise ValueError(f"{group['name']}: has an interval")
        for rule in group["rules"]:
            rule["expr"] = DURATION.sub(_in_seconds, rule["expr"])
            if "for" in rule:
                rule["for"] = _seconds(rule["for"])
    return found


def _in_seconds(match: re.Match[str]) -> str:
    before = match["before"]
    return match[0] if before is None else before + _seconds(match["minutes"] or match.string[match.start() :])


def _seconds(duration: str) -> str:
    if not re.fullmatch(r"\d+m", duration):
        raise ValueError(f"not in whole minutes: {duration}")
    return duration.removesuffix("m") + "s"


def selectors(query: str) -> set[str]:
    """The series that a query asks for, as it writes them: `metric{label="value"}`.

    Raises ValueError where a metric has no braces: this reads what we write, not all of PromQL.
    """
    rest = LABEL_LIST.sub(" ", SELECTOR.sub(" ", query))
    if bare := set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", rest)) - KEYWORDS:
        raise ValueError(f"without braces: {sorted(bare)}")
    return set(SELECTOR.findall(query))
