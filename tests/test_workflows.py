"""The workflow files: what they run is here, what they use is pinned, and every supported Python is in them."""

from __future__ import annotations

import configparser
import os
import re
from typing import Any

import pytest
import yaml

from tests.mutation import PACKAGES
from tests.test_layering import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


_SIGNED = {"contents": "read", "id-token": "write", "attestations": "write"}
#: What jobs may do besides reading.
PERMISSIONS = {
    ("release.yml", "distributions"): _SIGNED,
    ("release.yml", "image"): {**_SIGNED, "packages": "write"},
    ("release.yml", "publish"): {"id-token": "write"},
}


def jobs(name: str) -> dict[str, Any]:
    read = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    found: dict[str, Any] = read["jobs"]
    return found


def steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job["steps"]
    return found


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in steps(job) if "run" in step]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit_and_jobs_have_bounds(file: Any) -> None:
    for name, job in jobs(file.name).items():
        assert job["timeout-minutes"] <= 360, name
        assert job["permissions"] == PERMISSIONS.get((file.name, name), {"contents": "read"}), name
        for step in steps(job):
            if "uses" in step:
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), step
    pins = re.findall(r"uses: (\S+)@(\w+) # v", file.read_text())
    assert len(pins) == file.read_text().count("uses: "), "the version stands behind its commit"


def test_a_change_is_checked_by_ci_run() -> None:
    assert ".ci/run" in commands(jobs("check.yml")["check"])
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_whole_suite_is_run_ten_times_with_more_processes_than_cores() -> None:
    job = jobs("scheduled.yml")["repeated"]
    assert len(job["strategy"]["matrix"]["run"]) == 10
    assert job["strategy"]["fail-fast"] is False
    # without arguments ./check runs everything, and draws an order
    assert "JOBS=$((2 * $(nproc))) ./check" in commands(job)


def test_all_supported_pythons_are_run_with_the_lowest_and_the_newest_versions() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    supported = re.findall(r"Python :: (3\.\d+)", parser["metadata"]["classifiers"])
    job = jobs("scheduled.yml")["versions"]
    matrix = job["strategy"]["matrix"]
    assert matrix == {"python": supported, "dependencies": ["lowest", "newest"]}
    assert "continue-on-error" not in job
    assert any("./check" in command for command in commands(job))


@pytest.mark.parametrize("module", ["tests.fuzz", "tests.mutation"])
def test_what_takes_long_is_run_each_week(module: str) -> None:
    run = [command for job in jobs("scheduled.yml").values() for command in commands(job)]
    assert any(f"python -m {module}" in command for command in run)
    assert (ROOT / module.replace(".", "/") / "__main__.py").exists()


def test_every_package_of_mutation_is_judged_each_week() -> None:
    assert jobs("scheduled.yml")["mutation"]["strategy"]["matrix"] == {"package": list(PACKAGES)}


def test_a_release_is_built_twice_and_attested() -> None:
    release = jobs("release.yml")
    building = "\n".join(commands(release["distributions"]))
    assert "--require-hashes --requirement requirements/build.txt" in building
    assert building.count("python scripts/dist.py") == 2
    assert "diff --recursive dist again" in building
    assert "--sbom=true --provenance=mode=max" in "\n".join(commands(release["image"]))
    for name in ("distributions", "image"):
        assert any("attest-build-provenance@" in step.get("uses", "") for step in steps(release[name]))


def test_only_a_person_publishes() -> None:
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    publish = release["jobs"]["publish"]
    assert (publish["environment"], publish["needs"]) == ("pypi", "distributions")
    assert "github.event_name == 'workflow_dispatch' && inputs.publish" in publish["if"]
    # a YAML parser of version 1.1 reads the key "on" as true
    assert release[True]["workflow_dispatch"]["inputs"]["publish"]["default"] is False
    assert "secrets." not in str(publish)


def test_the_image_is_pinned_and_says_what_it_is() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=python:3\.\d+-slim@sha256:[0-9a-f]{64}$", dockerfile, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${BASE}"}
    assert dockerfile.count("--require-hashes") == 2
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in dockerfile
    assert re.search(r"^USER icws$", dockerfile, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", dockerfile, re.MULTILINE)
