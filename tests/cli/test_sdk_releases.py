"""Which JavaScript libraries verify which certificates."""

from __future__ import annotations

import pytest

from icwsgw.cli.sdk_releases import SdkRelease, parse_release
from icwsgw.errors import FormatError


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("0.5.0", SdkRelease("ic-websocket-js", (0, 5, 0))),
        ("v0.4", SdkRelease("ic-websocket-js", (0, 4, 0))),
        ("ic-websocket-js@0.3.3", SdkRelease("ic-websocket-js", (0, 3, 3))),
        ("@dfinity/agent@2.4.1", SdkRelease("@dfinity/agent", (2, 4, 1))),
        (" @icp-sdk/core@6.1.0-beta.1 ", SdkRelease("@icp-sdk/core", (6, 1, 0))),
    ],
)
def test_releases_are_named_as_npm_names_them(text: str, release: SdkRelease) -> None:
    assert parse_release(text) == release


@pytest.mark.parametrize(
    "text", ["", "@", "latest", "0.5.0.1", "left-pad@1.0.0", "@dfinity/agent", "@dfinity/agent@", "1e9"]
)
def test_what_is_no_release(text: str) -> None:
    with pytest.raises(FormatError):
        parse_release(text)


def test_who_reads_shards() -> None:
    """The first release that does is the one whose change log says so; the SDK's own tests have both sides of it."""
    reads = {text: parse_release(text).reads_shards for text in ("@icp-sdk/core@4.2.3", "@icp-sdk/core@5.0.0", "0.5.0")}
    assert reads == {"@icp-sdk/core@4.2.3": False, "@icp-sdk/core@5.0.0": True, "0.5.0": False}
    assert parse_release("icws-client@0.1.0").reads_shards
    assert not parse_release("@dfinity/agent@3.4.3").reads_shards


def test_which_releases_have_the_protocol() -> None:
    assert not parse_release("0.2.1").is_compatible
    assert parse_release("0.3.0").is_compatible
    assert parse_release("@dfinity/agent@0.20.2").is_compatible
