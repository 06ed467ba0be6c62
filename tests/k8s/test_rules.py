"""Alerts and panels: Prometheus' own tool reads what they ask, and has the alerts fire and clear."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.k8s.manifests import K8S, ROOT, missing, of_kind, only, render

if TYPE_CHECKING:
    from pathlib import Path

DASHBOARD = K8S / "components/grafana-dashboard/greentext.json"
RULE = K8S / "components/prometheus-rule/prometheusrule.yaml"
CASES = ROOT / "tests/k8s/rule_cases.yaml"
RUNBOOK = ROOT / "docs/kubernetes.md"
GRAFANA = {"$__rate_interval": "5m", "$namespace": ".*", "$pod": ".*"}


def groups() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(RULE.read_text())["spec"]["groups"]
    return found


def alerts() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    """What the dashboard asks, with Grafana's variables filled in."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    for name, value in GRAFANA.items():
        found = [query.replace(name, value) for query in found]
    return found


def promtool(*arguments: str, cwd: Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        missing("no promtool: install Prometheus (on Debian: apt-get install prometheus)")
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_prometheus_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups()}))
    promtool("check", "rules", "--lint-fatal", "rules.yaml", cwd=tmp_path)


def test_alerts_fire_and_clear(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups()}))
    (tmp_path / "cases.yaml").write_text(CASES.read_text())
    promtool("test", "rules", "cases.yaml", cwd=tmp_path)


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    fires: dict[str, set[bool]] = {}
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for asked in case["alert_rule_test"]:
            fires.setdefault(asked["alertname"], set()).add(bool(asked.get("exp_alerts")))
    assert fires == {alert["alert"]: {True, False} for alert in alerts()}


def test_what_panels_ask_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{i}", "expr": query} for i, query in enumerate(queries())]
    assert rules
    assert "$" not in "".join(queries())
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", "--lint=none", "panels.yaml", cwd=tmp_path)


def test_what_keda_asks_is_promql(tmp_path: Path) -> None:
    (scaled,) = of_kind(render("overlays/production"), "ScaledObject")
    rules = [
        {"record": "keda:texts", "expr": trigger["metadata"]["query"]}
        for trigger in scaled["spec"]["triggers"]
        if trigger["type"] == "prometheus"
    ]
    (tmp_path / "keda.yaml").write_text(yaml.safe_dump({"groups": [{"name": "keda", "rules": rules}]}))
    promtool("check", "rules", "--lint=none", "keda.yaml", cwd=tmp_path)


def test_alerts_and_panels_ask_for_the_job_that_there_is() -> None:
    name = only(render("base"), "Service")["metadata"]["name"]
    for query in [*(alert["expr"] for alert in alerts()), *queries()]:
        if "container_" not in query:  # the kubelet's
            assert set(re.findall(r'job="([^"]*)"', query)) == {name}, query


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_each_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    annotations = alert["annotations"]
    assert set(annotations) == {"summary", "description", "runbook"}
    path, _, anchor = annotations["runbook"].partition("#")
    assert ROOT / path == RUNBOOK
    assert anchor == alert["alert"].lower()
    assert f"### {alert['alert']}\n" in RUNBOOK.read_text()


def test_no_runbook_note_outlives_its_alert() -> None:
    noted = set(re.findall(r"^### (Greentext\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    assert noted == {alert["alert"] for alert in alerts()}


def test_the_dashboard_can_be_imported_anywhere() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert board["uid"]
    assert "id" not in board  # Grafana gives it one
    (source,) = (variable for variable in board["templating"]["list"] if variable["type"] == "datasource")
    reference = {"type": "prometheus", "uid": f"${{{source['name']}}}"}
    for panel in panels():
        assert panel["datasource"] == reference
        assert [target["datasource"] for target in panel["targets"]] == [reference] * len(panel["targets"])
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        taken = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        cells |= taken


def test_the_dashboard_in_the_cluster_is_the_file() -> None:
    (config,) = (
        each
        for each in of_kind(render("overlays/production"), "ConfigMap")
        if "grafana_dashboard" in each["metadata"]["labels"]
    )
    assert config["data"] == {"greentext.json": DASHBOARD.read_text()}
