"""Training over several pods, and data stages: their commands are such as the programs take."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.k8s.manifests import JOBS, K8S, only, pod_of, render

if TYPE_CHECKING:
    from tests.k8s.manifests import Manifest


def container_of(name: str) -> Manifest:
    (container,) = pod_of(only(render(f"jobs/{name}"), "Job"))["spec"]["containers"]
    found: Manifest = container
    return found


def launched() -> Any:
    """What `accelerate launch` makes of the training Job's arguments."""
    from accelerate.commands.launch import launch_command_parser

    container = container_of("training")
    assert container["command"] == ["accelerate", "launch"]
    arguments = [argument.replace("$(MACHINE_RANK)", "1") for argument in container["args"]]
    return launch_command_parser().parse_args(arguments)


def test_there_are_as_many_pods_as_training_waits_for() -> None:
    spec = only(render("jobs/training"), "Job")["spec"]
    options = launched()
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == options.num_machines
    assert options.num_processes >= options.num_machines
    assert options.multi_gpu  # without it each machine would train alone
    assert not options.cpu


def test_pods_find_the_first_one_by_its_name() -> None:
    manifests = render("jobs/training")
    job, service = only(manifests, "Job"), only(manifests, "Service")
    pod = pod_of(job)["spec"]
    options = launched()
    assert options.main_process_ip == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    (port,) = service["spec"]["ports"]
    assert options.main_process_port == port["port"] == pod["containers"][0]["ports"][0]["containerPort"]
    rank = next(each for each in pod["containers"][0]["env"] if each["name"] == "MACHINE_RANK")
    assert "job-completion-index" in rank["valueFrom"]["fieldRef"]["fieldPath"]
    assert options.machine_rank == 1


def test_training_talks_among_its_pods() -> None:
    spec = only(render("jobs/training"), "NetworkPolicy")["spec"]
    among = [{"podSelector": spec["podSelector"]}]
    assert spec["ingress"] == [{"from": among}]
    assert {"to": among} in spec["egress"]


def test_training_is_told_what_it_understands() -> None:
    from training.cli import parser
    from training.recipe import find_recipe, read_recipe

    options = launched()
    assert options.module
    assert options.training_script == "training.cli"
    asked = parser().parse_args(options.training_script_args)
    assert asked.command == "run"
    recipe = read_recipe(find_recipe(asked.recipe))
    assert recipe.base
    assert recipe.stages


def test_the_pipeline_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from data_pipeline.cli import _parser
    from data_pipeline.pipeline import read_pipeline

    container = container_of("data")
    program, *words = container["command"]
    assert program == "gtx-data"
    asked = _parser(words).parse_args(words)
    assert asked.stage_name == "run"
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "pipeline")
    assert asked.config == Path(mount["mountPath"], "pipeline.toml")
    # What it reads is checked as well: here it lies in the volume.
    monkeypatch.chdir(tmp_path)
    file = K8S / "jobs/data/pipeline.toml"
    for section in tomllib.loads(file.read_text(encoding="utf-8")).values():
        for name in section.get("inputs", []) if isinstance(section, dict) else []:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
    pipeline = read_pipeline(file)
    work = Path(container["workingDir"])
    assert not pipeline.folder.is_absolute()
    assert str(work) in {each["mountPath"] for each in container["volumeMounts"]}


@pytest.mark.parametrize("name", JOBS)
def test_a_pod_that_fails_is_tried_again_with_what_it_has_done(name: str) -> None:
    manifests = render(f"jobs/{name}")
    job = only(manifests, "Job")
    pod = pod_of(job)["spec"]
    assert pod["restartPolicy"] == "OnFailure"
    assert job["spec"]["backoffLimit"] >= 6
    container = pod["containers"][0]
    work = next(volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume)
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == work["name"])
    assert container["workingDir"] == mount["mountPath"]
    claim = only(manifests, "PersistentVolumeClaim")["spec"]
    several = job["spec"].get("parallelism", 1) > 1
    assert claim["accessModes"] == ["ReadWriteMany" if several else "ReadWriteOnce"]
