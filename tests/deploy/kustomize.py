"""The part of kustomize that deploy/kubernetes uses, done by its rules; anything else in a kustomization is refused.

``kubectl kustomize`` comes with no distribution that CI can install it from, and what it does here is little.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]
KNOWN = {"apiVersion", "kind", "namespace", "resources", "components", "configMapGenerator", "patches", "images"}
CLUSTER_WIDE = {"Namespace"}


def build(directory: Path) -> list[Resource]:
    """All resources of a kustomization."""
    resources: list[Resource] = []
    _apply(directory, resources)
    return resources


def _apply(directory: Path, resources: list[Resource]) -> None:
    rules = yaml.safe_load((directory / "kustomization.yaml").read_text())
    assert set(rules) <= KNOWN, f"{directory}: {set(rules) - KNOWN}"
    for name in rules.get("resources", []):
        path = (directory / name).resolve()
        if path.is_dir():
            resources += build(path)
        else:
            resources += [document for document in yaml.safe_load_all(path.read_text()) if document]
    for name in rules.get("components", []):
        assert yaml.safe_load((directory / name / "kustomization.yaml").read_text())["kind"] == "Component"
        _apply((directory / name).resolve(), resources)
    for generator in rules.get("configMapGenerator", []):
        _generate(generator, resources)
    for patch in rules.get("patches", []):
        target = find(resources, patch["target"]["kind"], patch["target"]["name"])
        for operation in yaml.safe_load(patch["patch"]):
            _patch(target, **operation)
    for image in rules.get("images", []):
        _set_image(image["name"], f"{image['newName']}:{image['newTag']}", resources)
    if "namespace" in rules:
        for resource in resources:
            if resource["kind"] not in CLUSTER_WIDE:
                resource["metadata"]["namespace"] = rules["namespace"]


def _set_image(name: str, image: str, resources: list[Resource]) -> None:
    for resource in resources:
        pod = resource.get("spec", {}).get("template", {}).get("spec", {})
        for container in pod.get("containers", []):
            if container["image"] == name:
                container["image"] = image


def _generate(generator: dict[str, Any], resources: list[Resource]) -> None:
    data = dict(literal.split("=", 1) for literal in generator["literals"])
    if generator.get("behavior") == "merge":
        find(resources, "ConfigMap", generator["name"])["data"].update(data)
    else:
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}
        resources.append(made)


def _patch(target: Any, op: str, path: str, value: Any = None) -> None:
    """One operation of a JSON patch (RFC 6902)."""
    *parents, last = path.strip("/").split("/")
    for step in parents:
        target = target[int(step)] if isinstance(target, list) else target[step]
    if isinstance(target, list):
        if last == "-":
            assert op == "add"
            target.append(copy.deepcopy(value))
            return
        key: Any = int(last)
    else:
        key = last
    if op == "remove":
        del target[key]
    else:
        assert op in ("add", "replace")
        assert op == "add" or key in target
        target[key] = copy.deepcopy(value)


def find(resources: list[Resource], kind: str, name: str) -> Resource:
    """The only resource of a kind and name."""
    (found,) = [entry for entry in resources if entry["kind"] == kind and entry["metadata"]["name"] == name]
    return found
