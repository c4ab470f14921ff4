import re
from pathlib import Path
from typing import Any

import pytest

from icwsgw import options
from icwsgw.errors import ConfigError
from icwsgw.options import Kind, Option
from tests.support.certificates import ROOT_KEY_DER


def make(kind: Kind, default: Any = None) -> Option:
    return Option("some-name", "some_name", kind, default, "Help.", "", "Main")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (options.seconds(), "10", 10.0),
        (options.seconds(), "2.5", 2.5),
        (options.seconds(), ".5", 0.5),
        (options.seconds(), "250ms", 0.25),
        (options.seconds(), "2 m", 120.0),
        (options.seconds(), "1h", 3600.0),
        (options.milliseconds(0.001, 60), "100", 0.1),
        (options.milliseconds(0.001, 60), "2s", 2.0),
        (options.count(), "50_000", 50_000),
        (options.automatic(options.count()), " Auto", None),
        (options.automatic(options.count()), "7", 7),
        (options.size(0), "2162688", 2_162_688),
        (options.size(0), "64K", 65_536),
        (options.size(0), "4MiB", 4 << 20),
        (options.size(0), "4mb", 4 << 20),
        (options.size(0), "17B", 17),
        (options.choice("a", "b"), " A ", "a"),
        (options.FLAG, "yes", True),
        (options.FLAG, "0", False),
        (options.FILE, "", None),
        (options.FILE, "none", None),
        (options.OPTIONAL_ADDRESS, "off", None),
        (options.OPTIONAL_ADDRESS, "0.0.0.0:9090", "tcp:9090:interface=0.0.0.0"),
        (options.ratio(), "0.25", 0.25),
        (options.ratio(), "1%", 0.01),
        (options.URL, "https://icp0.io/", "https://icp0.io"),
        (options.URL, "http://host.docker.internal:4943", "http://host.docker.internal:4943"),
        (options.ADDRESSES, "8080, unix:/x\t[::1]:1", ("tcp:8080", "unix:/x", r"tcp6:1:interface=\:\:1")),
        (options.ORIGINS, "https://App.example/ null", ("https://app.example", "null")),
        (options.CANISTERS, "aaaaa-aa", ("aaaaa-aa",)),
    ],
)
def test_values(kind: Kind, text: str, value: object) -> None:
    assert kind.parse(text) == value
    assert kind.parse(kind.show(value)) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (options.seconds(1, 5), "0.5"),
        (options.seconds(), "1e3"),
        (options.seconds(), "-1"),
        (options.seconds(), "soon"),
        (options.seconds(), "nan"),
        *((options.ratio(), text) for text in ("nan", "-0.1", "101%", "half", "")),
        (options.milliseconds(0.001, 60), "0"),
        (options.count(1), "0"),
        (options.count(), "1.5"),
        (options.size(1 << 10), "1"),
        (options.size(0), "-1"),
        (options.choice("a"), "b"),
        (options.FLAG, "perhaps"),
        (options.URL, "icp0.io"),
        (options.URL, "ftp://icp0.io"),
        (options.URL, "https://user:secret@icp0.io"),
        (options.URL, "http://[::1"),
        (options.URL, "http://host:99999"),
        (options.URL, "http://host/?a=b"),
        (options.ORIGINS, "app.example"),
        (options.ORIGINS, "https://app.example/page"),
        (options.CANISTERS, "not-a-canister"),
        (options.DIRECTORY, " "),
    ],
)
def test_refusals_say_where_and_what(kind: Kind, text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--some-name: ") as caught:
        make(kind).parse(text, "--some-name")
    assert "\n" not in str(caught.value)


def test_secrets_in_urls_do_not_get_into_the_configuration() -> None:
    with pytest.raises(ConfigError):
        options.URL.parse("https://user:secret@icp0.io")


def test_files_become_absolute() -> None:
    assert options.FILE.parse("cert.pem") == Path("cert.pem").absolute()
    assert options.DIRECTORY.parse("data") == Path("data").absolute()


def test_toml_values() -> None:
    assert make(options.seconds()).parse_toml(2, "x") == 2.0
    assert make(options.FLAG).parse_toml(True, "x") is True
    assert make(options.ADDRESSES).parse_toml(["tcp:1", 2], "x") == ("tcp:1", "tcp:2")
    with pytest.raises(ConfigError, match=r"^x: takes one value"):
        make(options.FLAG).parse_toml([True], "x")
    with pytest.raises(ConfigError, match=r"^x: dict"):
        make(options.FLAG).parse_toml({"a": 1}, "x")


def test_environment_name() -> None:
    assert make(options.FLAG).variable == "ICWS_SOME_NAME"
    assert make(options.FLAG).is_flag
    assert not make(options.URL).is_flag


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (options.seconds(), 10.0, "10 s"),
        (options.milliseconds(0.001, 60), 0.1, "100 ms"),
        (options.milliseconds(0.001, 60), 1 / 3, "0.3333333333333333s"),
        (options.size(0), 4 << 20, "4 MiB"),
        (options.size(0), 2_162_688, "2112 KiB"),
        (options.size(0), 1 << 30, "1 GiB"),
        (options.size(0), 0, "0 bytes"),
        (options.count(), 50_000, "50000"),
        (options.automatic(options.count()), None, "auto"),
        (options.automatic(options.count()), 7, "7"),
        (options.FLAG, True, "on"),
        (options.FLAG, False, "off"),
        (options.FILE, None, "none"),
        (options.ADDRESSES, ("tcp:1", "unix:/x"), "tcp:1,unix:/x"),
        (options.CANISTERS, (), "none"),
    ],
)
def test_values_as_people_read_them(kind: Kind, value: object, words: str) -> None:
    assert kind.readable(value) == words


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [
        (options.seconds(), "0 to 24 h"),
        (options.seconds(0.1, 300), "100 ms to 300 s"),
        (options.milliseconds(0.001, 60), "1 ms to 60 s"),
        (options.count(1, 128), "1 to 128"),
        (options.size(1 << 10), "1 KiB to 4 GiB"),
    ],
)
def test_bounds_as_people_read_them(kind: Kind, bounds: str) -> None:
    assert kind.bounds == bounds
    with pytest.raises(ConfigError, match=f"is outside {bounds}"):
        kind.parse("9999999999")


def test_a_root_key_is_a_word_hex_or_a_file(tmp_path: Path) -> None:
    key = ROOT_KEY_DER.hex()
    for word in ("auto", "mainnet", "fetch"):
        assert options.ROOT_KEY.parse(f" {word.upper()} ") == word
    assert options.ROOT_KEY.parse("0x" + key.upper()) == key
    for name, data in (("der", ROOT_KEY_DER), ("hex", key.encode() + b"\n")):
        file = tmp_path / name
        file.write_bytes(data)
        assert options.ROOT_KEY.parse(str(file)) == key
        # workers and --print-config have the key, not the file
        assert options.ROOT_KEY.parse(options.ROOT_KEY.show(key)) == key


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "/nonexistent/key",
            "'/nonexistent/key' is not auto, mainnet, fetch, a key in hex, or a file that can be read",
        ),
        ("", "'' is not auto"),
        ("ab" * 133, "root key: not the DER of a BLS12-381 public key"),
        ("ab" * 60, "root key: not the DER of a BLS12-381 public key"),
        (__file__, "root key: not the DER"),
    ],
)
def test_what_is_no_root_key(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        options.ROOT_KEY.parse(text)
