"""On which of GKE's machines the pods go."""

import pytest

from tests.k8s.conftest import Object, applied, templates

SPOT = "cloud.google.com/gke-spot"
ACCELERATOR = "cloud.google.com/gke-accelerator"
METADATA = "iam.gke.io/gke-metadata-server-enabled"


def _avoided(pod: Object) -> set[str]:
    affinity = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = affinity["nodeSelectorTerms"]
    assert all(match["operator"] == "DoesNotExist" for match in term["matchExpressions"])
    return {match["key"] for match in term["matchExpressions"]}


@pytest.mark.parametrize("name", ["overlays/gke-spot", "overlays/cluster", "rendered gke-spot"])
def test_each_group_is_on_its_machines(name: str) -> None:
    pods = {group: template["spec"] for group, template in templates(applied(name)).items()}
    head, spot, on_demand = pods["head"], pods["spot-gpu"], pods["on-demand-gpu"]
    assert _avoided(head) == {SPOT, ACCELERATOR}
    assert head["nodeSelector"] == {METADATA: "true"}
    assert spot["nodeSelector"].keys() == {METADATA, ACCELERATOR, SPOT}
    assert on_demand["nodeSelector"].keys() == {METADATA, ACCELERATOR}
    assert _avoided(on_demand) == {SPOT}
    tolerated = {
        group: {toleration["key"] for toleration in pod["tolerations"]}
        for group, pod in pods.items()
        if group.endswith("-gpu")
    }
    assert tolerated == {"spot-gpu": {"nvidia.com/gpu", SPOT}, "on-demand-gpu": {"nvidia.com/gpu"}}


def test_a_pod_on_a_spot_machine_does_not_ask_for_more_time_than_there_is() -> None:
    pods = templates(applied("overlays/gke-spot"))
    assert pods["spot-gpu"]["spec"]["terminationGracePeriodSeconds"] == 15
    assert pods["on-demand-gpu"]["spec"]["terminationGracePeriodSeconds"] > 15
