import re
from pathlib import Path
from typing import Any

import pytest

from icwsgw.config import option
from icwsgw.config.option import Kind, Option
from icwsgw.errors import ConfigError
from tests.support.certificates import ROOT_KEY_DER


def make(kind: Kind, default: Any = None) -> Option:
    return Option("some-name", "some_name", kind, default, "Help.", "", "Main")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (option.seconds(), "10", 10.0),
        (option.seconds(), "2.5", 2.5),
        (option.seconds(), ".5", 0.5),
        (option.seconds(), "250ms", 0.25),
        (option.seconds(), "2 m", 120.0),
        (option.seconds(), "1h", 3600.0),
        (option.milliseconds(0.001, 60), "100", 0.1),
        (option.milliseconds(0.001, 60), "2s", 2.0),
        (option.count(), "50_000", 50_000),
        (option.automatic(option.count()), " Auto", None),
        (option.automatic(option.count()), "7", 7),
        (option.size(0), "2162688", 2_162_688),
        (option.size(0), "64K", 65_536),
        (option.size(0), "4MiB", 4 << 20),
        (option.size(0), "4mb", 4 << 20),
        (option.size(0), "17B", 17),
        (option.choice("a", "b"), " A ", "a"),
        (option.FLAG, "yes", True),
        (option.FLAG, "0", False),
        (option.FILE, "", None),
        (option.FILE, "none", None),
        (option.OPTIONAL_ADDRESS, "off", None),
        (option.OPTIONAL_ADDRESS, "0.0.0.0:9090", "tcp:9090:interface=0.0.0.0"),
        (option.ratio(), "0.25", 0.25),
        (option.ratio(), "1%", 0.01),
        (option.URL, "https://icp0.io/", "https://icp0.io"),
        (option.URL, "http://host.docker.internal:4943", "http://host.docker.internal:4943"),
        (option.ADDRESSES, "8080, unix:/x\t[::1]:1", ("tcp:8080", "unix:/x", r"tcp6:1:interface=\:\:1")),
        (option.ORIGINS, "https://App.example/ null", ("https://app.example", "null")),
        (option.CANISTERS, "aaaaa-aa", ("aaaaa-aa",)),
    ],
)
def test_values(kind: Kind, text: str, value: object) -> None:
    assert kind.parse(text) == value
    assert kind.parse(kind.show(value)) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (option.seconds(1, 5), "0.5"),
        (option.seconds(), "1e3"),
        (option.seconds(), "-1"),
        (option.seconds(), "soon"),
        (option.seconds(), "nan"),
        *((option.ratio(), text) for text in ("nan", "-0.1", "101%", "half", "")),
        (option.milliseconds(0.001, 60), "0"),
        (option.count(1), "0"),
        (option.count(), "1.5"),
        (option.size(1 << 10), "1"),
        (option.size(0), "-1"),
        (option.choice("a"), "b"),
        (option.FLAG, "perhaps"),
        (option.URL, "icp0.io"),
        (option.URL, "ftp://icp0.io"),
        (option.URL, "https://user:secret@icp0.io"),
        (option.URL, "http://[::1"),
        (option.URL, "http://host:99999"),
        (option.URL, "http://host/?a=b"),
        (option.ORIGINS, "app.example"),
        (option.ORIGINS, "https://app.example/page"),
        (option.CANISTERS, "not-a-canister"),
        (option.DIRECTORY, " "),
    ],
)
def test_refusals_say_where_and_what(kind: Kind, text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--some-name: ") as caught:
        make(kind).parse(text, "--some-name")
    assert "\n" not in str(caught.value)


def test_secrets_in_urls_do_not_get_into_the_configuration() -> None:
    with pytest.raises(ConfigError):
        option.URL.parse("https://user:secret@icp0.io")


def test_files_become_absolute() -> None:
    assert option.FILE.parse("cert.pem") == Path("cert.pem").absolute()
    assert option.DIRECTORY.parse("data") == Path("data").absolute()


def test_toml_values() -> None:
    assert make(option.seconds()).parse_toml(2, "x") == 2.0
    assert make(option.FLAG).parse_toml(True, "x") is True
    assert make(option.ADDRESSES).parse_toml(["tcp:1", 2], "x") == ("tcp:1", "tcp:2")
    with pytest.raises(ConfigError, match=r"^x: takes one value"):
        make(option.FLAG).parse_toml([True], "x")
    with pytest.raises(ConfigError, match=r"^x: dict"):
        make(option.FLAG).parse_toml({"a": 1}, "x")


def test_environment_name() -> None:
    assert make(option.FLAG).variable == "ICWS_SOME_NAME"
    assert make(option.FLAG).is_flag
    assert not make(option.URL).is_flag


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (option.seconds(), 10.0, "10 s"),
        (option.milliseconds(0.001, 60), 0.1, "100 ms"),
        (option.milliseconds(0.001, 60), 1 / 3, "0.3333333333333333s"),
        (option.size(0), 4 << 20, "4 MiB"),
        (option.size(0), 2_162_688, "2112 KiB"),
        (option.size(0), 1 << 30, "1 GiB"),
        (option.size(0), 0, "0 bytes"),
        (option.count(), 50_000, "50000"),
        (option.automatic(option.count()), None, "auto"),
        (option.automatic(option.count()), 7, "7"),
        (option.FLAG, True, "on"),
        (option.FLAG, False, "off"),
        (option.FILE, None, "none"),
        (option.ADDRESSES, ("tcp:1", "unix:/x"), "tcp:1,unix:/x"),
        (option.CANISTERS, (), "none"),
    ],
)
def test_values_as_people_read_them(kind: Kind, value: object, words: str) -> None:
    assert kind.readable(value) == words


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [
        (option.seconds(), "0 to 24 h"),
        (option.seconds(0.1, 300), "100 ms to 300 s"),
        (option.milliseconds(0.001, 60), "1 ms to 60 s"),
        (option.count(1, 128), "1 to 128"),
        (option.size(1 << 10), "1 KiB to 4 GiB"),
    ],
)
def test_bounds_as_people_read_them(kind: Kind, bounds: str) -> None:
    assert kind.bounds == bounds
    with pytest.raises(ConfigError, match=f"is outside {bounds}"):
        kind.parse("9999999999")


def test_a_root_key_is_a_word_hex_or_a_file(tmp_path: Path) -> None:
    key = ROOT_KEY_DER.hex()
    for word in ("auto", "mainnet", "fetch"):
        assert option.ROOT_KEY.parse(f" {word.upper()} ") == word
    assert option.ROOT_KEY.parse("0x" + key.upper()) == key
    for name, data in (("der", ROOT_KEY_DER), ("hex", key.encode() + b"\n")):
        file = tmp_path / name
        file.write_bytes(data)
        assert option.ROOT_KEY.parse(str(file)) == key
        # workers and --print-config have the key, not the file
        assert option.ROOT_KEY.parse(option.ROOT_KEY.show(key)) == key


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
        option.ROOT_KEY.parse(text)
