"""`dreambatch k8s render`: a user's values in their places, and mistakes said in one line."""

import dataclasses
from typing import Any

import pytest
import yaml

from pipeline import cli, exit_codes
from pipeline.errors import UserError
from pipeline.kubernetes import render
from pipeline.kubernetes.values import LONGEST_NAME, Values
from tests.k8s import operators
from tests.k8s.conftest import RENDERED, Objects, applied, by_kind, cluster, containers, groups

GKE, KUEUE, CLUSTER = RENDERED
DASHBOARDS = ("job", "gpus", "store", "quality")
VALUES = Values(
    action="render", image="r/d:1", manifest="gs://b/m.parquet", output="gs://b/o", gpus=8
)


def _settings(objects: Objects) -> dict[str, str]:
    found = by_kind(objects, "ConfigMap")
    (data,) = (one["data"] for one in found if "DREAMBATCH_FLAGS" in one["data"])
    return data


def _sizes(objects: Objects) -> dict[str, tuple[int, int, int, str]]:
    """Of each group: replicas, their least and most, and GPUs of one."""
    return {
        group["groupName"]: (
            group["replicas"],
            group["minReplicas"],
            group["maxReplicas"],
            group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"],
        )
        for group in groups(objects)[1:]
    }


def test_without_values_of_ones_own_it_is_the_overlay() -> None:
    plain = dataclasses.replace(
        VALUES,
        image="dreambatch:0.1.0",
        manifest="gs://BUCKET/prompts.parquet",
        output="gs://BUCKET/assets",
        recipe="primitives",
    )
    assert render.objects(plain) == applied("overlays/gke-spot")


def test_the_values_of_a_run_arrive() -> None:
    objects = applied(GKE)
    assert _settings(objects) == {
        "DREAMBATCH_MANIFEST": "gs://bucket/prompts.parquet",
        "DREAMBATCH_OUTPUT": "gs://bucket/assets",
        "DREAMBATCH_FLAGS": "--recipe dreamfusion_if --gpus 64",
    }
    images = {c["image"] for c in containers(objects) if "image" in c}
    assert images == {RENDERED[GKE].image}
    assert {found["metadata"]["namespace"] for found in objects} == {"research"}
    for account in by_kind(objects, "ServiceAccount"):
        annotations = {"iam.gke.io/gcp-service-account": "maker@project.iam.gserviceaccount.com"}
        assert account["metadata"]["annotations"] == annotations


def test_machines_are_as_many_as_the_gpus_need() -> None:
    assert _sizes(applied(GKE)) == {"spot-gpu": (0, 0, 8, "8"), "on-demand-gpu": (0, 0, 2, "8")}
    assert _sizes(applied(KUEUE)) == {"gpu": (3, 3, 3, "4")}
    spot = groups(applied(GKE))[1]["template"]["spec"]
    assert spot["nodeSelector"]["cloud.google.com/gke-accelerator"] == "nvidia-h100-80gb"
    assert spot["containers"][0]["resources"]["limits"]["cpu"] == "48"
    assert spot["containers"][0]["resources"]["limits"]["memory"] == "192Gi"


def test_another_name_is_everywhere_but_at_what_all_runs_share() -> None:
    names = {(found["kind"], found["metadata"]["name"]) for found in applied(GKE)}
    assert names == {
        ("RayJob", "weekend"),
        ("ConfigMap", "weekend-run"),
        ("ServiceAccount", "weekend-head"),
        ("ServiceAccount", "weekend-worker"),
        ("NetworkPolicy", "weekend"),
        ("PodDisruptionBudget", "weekend-head"),
        ("PodMonitor", "dreambatch-head"),
        ("PodMonitor", "dreambatch-worker"),
        ("PrometheusRule", "dreambatch"),
        *(("ConfigMap", f"dreambatch-dashboard-{name}") for name in DASHBOARDS),
    }


def test_the_longest_name_is_taken_by_the_operator() -> None:
    longest = dataclasses.replace(VALUES, name="a" * LONGEST_NAME)
    assert operators.refusals(render.objects(longest)) == []
    with pytest.raises(UserError, match="--name: expected at most 40"):
        dataclasses.replace(VALUES, name="a" * (LONGEST_NAME + 1)).check()


def test_a_queue_is_named_and_watching_is_left_out() -> None:
    objects = applied(KUEUE)
    (job,) = by_kind(objects, "RayJob")
    assert job["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "research"}
    assert _settings(objects)["DREAMBATCH_FLAGS"] == "--gpus 10 --limit 100 --strict"
    assert {found["kind"] for found in objects} == {
        "RayJob",
        "ConfigMap",
        "ServiceAccount",
        "NetworkPolicy",
        "PodDisruptionBudget",
    }


def test_a_cluster_that_stays_has_no_run() -> None:
    objects = applied(CLUSTER)
    assert by_kind(objects, "RayJob") == []
    assert cluster(objects)["enableInTreeAutoscaling"] is True
    (head,) = groups(objects)[0]["template"]["spec"]["containers"]
    assert head["envFrom"] == [{"secretRef": {"name": "dreambatch-huggingface", "optional": True}}]


@pytest.mark.parametrize("name", RENDERED)
def test_the_yaml_says_the_same_and_has_no_anchors(name: str) -> None:
    text = render.to_yaml(applied(name))
    assert list(yaml.safe_load_all(text)) == applied(name)
    # Kubernetes' own reader of YAML takes anchors; the people who read this need not.
    assert "&id" not in text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"gpus": 0}, "--gpus: expected 1 or more, got 0"),
        ({"gpus_per_machine": 0}, "--gpus-per-machine"),
        ({"on_demand_gpus": -1}, "--on-demand-gpus"),
        ({"name": "My-Run"}, "--name"),
        ({"name": "9lives"}, "--name"),
        ({"manifest": None}, "--manifest"),
        ({"output": "out/demo"}, "--output: expected a URL"),
        ({"queue": "q"}, "--queue: overlay gke-spot has none"),
        ({"overlay": "kueue", "accelerator": "nvidia-l4"}, "--accelerator"),
        ({"overlay": "kueue", "on_demand_gpus": 0}, "--on-demand-gpus"),
        ({"overlay": "cluster"}, "--manifest: a cluster that stays"),
        ({"recipe": "gs://b/my recipe.json"}, "no blanks"),
        ({"recipe": "$(reboot)"}, "nothing else that means something"),
        ({"flags": "--recipe 'a"}, "--flags"),
        ({"flags": "--metrics-port=1"}, "--metrics-port"),
    ],
)
def test_a_users_mistake_is_one_line(change: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError) as caught:
        render.objects(dataclasses.replace(VALUES, **change))
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


COMMAND = ["k8s", "render", "--image", "r/d:1", "--gpus", "64"]
COMMAND += ["--manifest", "gs://b/m.parquet", "--output", "gs://b/o"]


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(COMMAND) == exit_codes.COMPLETE
    expected = render.render(dataclasses.replace(VALUES, gpus=64))
    assert capsys.readouterr().out == expected


def test_a_misspelt_flag_of_the_run_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*COMMAND, "--flags=--limt 3"])
    assert caught.value.code == exit_codes.USER
    assert cli.main([*COMMAND, "--flags=--limit 0"]) == exit_codes.USER
    assert capsys.readouterr().out == ""
