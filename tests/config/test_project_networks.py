"""The local networks that a directory names, the likeliest first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.config.project_networks import local_networks, read_networks
from icwsgw.errors import FormatError

ICP, DFX = "http://127.0.0.1:8000", "http://127.0.0.1:4943"

PROJECT = """\
# a project of icp-cli
canisters:
  - name: chat
    build:
      steps:
        - type: script
          commands:
            - |
              networks:
                - name: local
networks:%s
environments:
  - name: staging
    network: local
"""

MANAGED = """
  - name: other   # not this one
    mode: managed
    gateway: {port: 1}
  - name: local
    mode: managed
    gateway:
      bind: 127.0.0.1
      # ours
      port: 8123
"""


def urls(folder: Path) -> list[str]:
    return [network.url for network in local_networks(folder)]


def write(folder: Path, name: str, content: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_without_a_project_the_tools_ports() -> None:
    assert local_networks(Path("/nonexistent")) == [(ICP, "the port of icp-cli"), (DFX, "the port of dfx")]


@pytest.mark.parametrize(
    ("networks", "first", "why"),
    [
        (MANAGED.replace("{port: 1}", ""), "http://127.0.0.1:8123", "icp.yaml names its port"),
        ("\n- name: local\n  mode: connected\n  url: http://10.0.0.7:80/\n", "http://10.0.0.7:80", "icp.yaml names it"),
        ("\n  -\n    name: 'local'\n    mode: managed\n", ICP, "the port of icp-cli, whose icp.yaml is here"),
        ("\n  - name: other\n    gateway:\n      port: 1\n", ICP, "the port of icp-cli, whose icp.yaml is here"),
        (" []", ICP, "the port of icp-cli, whose icp.yaml is here"),
        (MANAGED, ICP, "the port of icp-cli; the networks in icp.yaml are not readable here ('{port: 1}')"),
    ],
)
def test_icp_yaml(tmp_path: Path, networks: str, first: str, why: str) -> None:
    write(tmp_path, "icp.yaml", PROJECT % networks)
    found = local_networks(tmp_path)
    assert found[0] == (first, why)
    assert [network.url for network in found[1:]] == [url for url in (ICP, DFX) if url != first]


def test_a_port_that_icp_cli_chooses_is_in_its_descriptor(tmp_path: Path) -> None:
    write(tmp_path, "icp.yaml", "networks:\n  - name: local\n    mode: managed\n    gateway:\n      port: 0\n")
    assert urls(tmp_path) == [ICP, DFX]
    descriptor = {"network": "local", "gateway": {"fixed": False, "port": 40123}, "root-key": "00"}
    write(tmp_path, ".icp/cache/networks/local/descriptor.json", descriptor)
    assert local_networks(tmp_path)[0] == ("http://127.0.0.1:40123", "icp-cli has started it for this directory")


@pytest.mark.parametrize(
    ("project", "first", "why"),
    [
        ({}, DFX, "the port of dfx, whose dfx.json is here"),
        ({"networks": {"local": {"bind": "127.0.0.1:8080", "type": "ephemeral"}}}, "http://127.0.0.1:8080", None),
        ({"networks": {"local": {"bind": "0.0.0.0:8001"}}}, "http://127.0.0.1:8001", "dfx.json names its port"),
        ({"networks": {"local": {"providers": ["http://10.0.0.7:8000"]}}}, "http://10.0.0.7:8000", "dfx.json names it"),
    ],
)
def test_dfx_json(tmp_path: Path, project: Any, first: str, why: str | None) -> None:
    write(tmp_path, "dfx.json", project)
    found = local_networks(tmp_path)[0]
    assert found.url == first
    assert why in (None, found.why)


def test_a_port_that_dfx_chooses_is_in_a_file_of_its(tmp_path: Path) -> None:
    write(tmp_path, "dfx.json", {"networks": {"local": {"bind": "127.0.0.1:0"}}})
    write(tmp_path, ".dfx/network/local/webserver-port", "40124\n")
    assert urls(tmp_path)[0] == "http://127.0.0.1:40124"


def test_icp_cli_before_dfx_and_each_url_once(tmp_path: Path) -> None:
    write(tmp_path, "dfx.json", {"networks": {"local": {"bind": "127.0.0.1:8000"}}})
    write(tmp_path, "icp.yaml", "canisters: []\n")
    assert urls(tmp_path) == [ICP, DFX]


@pytest.mark.parametrize(
    "content",
    [
        "\x00",
        "[",
        "[" * 100_000,
        "networks:\n" + "- " * 5_000,
        "[]",
        '"x"',
        '{"networks": []}',
        '{"networks": {"local": {"bind": {}}}}',
    ]
    + [f'{{"networks": {{"local": {{"bind": {bind}}}}}}}' for bind in ('"x"', '"127.0.0.1:99999"', '":²"', "1")]
    + ['{"networks": {"local": {"providers": [{"x": 1}]}}}', '{"gateway": {"port": -1}}'],
)
@pytest.mark.parametrize(
    "name", ["icp.yaml", "dfx.json", ".icp/cache/networks/local/descriptor.json", ".dfx/network/local/webserver-port"]
)
def test_files_that_name_nothing_leave_the_tools_ports(tmp_path: Path, name: str, content: str) -> None:
    write(tmp_path, name, content)
    assert set(urls(tmp_path)) == {ICP, DFX}


def test_what_is_no_text_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "icp.yaml").write_bytes(b"networks:\n  - name: \xff\n")
    (tmp_path / "dfx.json").mkdir()
    assert urls(tmp_path) == [ICP, DFX]


SCALARS = st.one_of(
    st.integers(0, 99_999).map(str),
    st.from_regex(r"[a-z][a-z0-9./-]{0,12}", fullmatch=True).filter(lambda word: isinstance(yaml.safe_load(word), str)),
    st.sampled_from(["http://127.0.0.1:4943", "https://icp-api.io/", "a b", "308182"]),
)
KEYS = st.from_regex(r"[a-z][a-z-]{0,8}[a-z]", fullmatch=True).filter(lambda key: isinstance(yaml.safe_load(key), str))
ENTRIES = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(KEYS, inner, min_size=1, max_size=3),
        max_leaves=6,
    ),
    min_size=1,
    max_size=4,
)


@given(st.lists(ENTRIES, max_size=3), st.integers(2, 6), st.booleans())
def test_it_reads_what_another_program_writes(networks: list[Any], indent: int, document: bool) -> None:
    """PyYAML quotes digits that are text; the reader's scalars are always text."""
    text = yaml.safe_dump({"networks": networks, "z": 1}, indent=indent, default_flow_style=False, width=10_000)
    assert read_networks(("---\n" if document else "") + text) == networks


@given(st.text(alphabet="networks:-\n 'l\"#{}[]&|>x1", max_size=60))
def test_it_agrees_with_another_reader_or_refuses(text: str) -> None:
    text = f"networks:\n{text}"
    try:
        mine = read_networks(text)
    except FormatError:
        return
    try:
        theirs = yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError:
        # The reader is not a validator: all of the file's other parts are skipped too.
        return
    if isinstance(theirs, dict) and isinstance(theirs.get("networks"), list):
        assert _texts(mine) == _texts(theirs["networks"])


def _texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _texts(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_texts(each) for each in value]
    return value or ""


def test_a_long_list_takes_a_time_in_proportion() -> None:
    """With a time that grows with the square, each of these would take minutes."""
    many = 1 << 16
    assert len(read_networks("networks:\n" + "  - name: x\n" * many)) == many
    assert read_networks(f"networks:\n  - a{' ' * 400_000}b\n") == [f"a{' ' * 400_000}b"]
