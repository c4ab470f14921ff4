import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import endpoints

from icwsgw.config.addresses import (
    Description,
    Exposure,
    bound_port,
    exposure,
    normalise,
    open_to_all,
    parse_description,
    private,
    quote,
    tcp_port,
)
from icwsgw.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0.0.0.0:8080", "tcp:8080:interface=0.0.0.0"),
        ("127.0.0.1:0", "tcp:0:interface=127.0.0.1"),
        ("localhost:8080", "tcp:8080:interface=localhost"),
        ("[::]:8080", r"tcp6:8080:interface=\:\:"),
        ("[::1]:8080", r"tcp6:8080:interface=\:\:1"),
        # the original takes what follows the last colon for the port
        ("::1:8080", r"tcp6:8080:interface=\:\:1"),
        (":::8080", r"tcp6:8080:interface=\:\:"),
        ("fd00::a:80", r"tcp6:80:interface=fd00\:\:a"),
        ("ic_ws_gateway:8080", "tcp:8080:interface=ic_ws_gateway"),
        ("8080", "tcp:8080"),
        (":8080", "tcp:8080"),
        (" tcp:8080 ", "tcp:8080"),
        ("tcp:8080:interface=127.0.0.1", "tcp:8080:interface=127.0.0.1"),
        ("ssl:8443:privateKey=k.pem:certKey=c.pem", "ssl:8443:privateKey=k.pem:certKey=c.pem"),
        ("tls:/certificates:8443", "tls:/certificates:8443"),
        ("unix:/run/icws.sock", "unix:/run/icws.sock"),
        ("systemd:domain=INET:name=icws", "systemd:domain=INET:name=icws"),
        ("tls:8443:privateKey=k.pem", "tls:8443:privateKey=k.pem"),
        ("tls:/certificates:port=8443", "tls:/certificates:port=8443"),
        ("haproxy:tcp:8080", "haproxy:tcp:8080"),
        ("haproxy:tls:/certificates:8443", "haproxy:tls:/certificates:8443"),
        ("haproxy:unix:/run/icws.sock", "haproxy:unix:/run/icws.sock"),
    ],
)
def test_forms(given: str, expected: str) -> None:
    assert normalise(given) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "  ",
        "70000",
        "1.2.3.4:70000",
        "nonsense",
        "[::zz]:80",
        "[:::]:80",
        "::1:70000",
        "tcp:",
        "tcp:http",
        "tcp:99999",
        "tcp:interface=::",
        "ssl:99999",
        "tls:99999",
        "tls:port=99999",
        "tls:/directory",
        "tls:/directory:99999",
        "tls:/directory:http",
        "tls:/directory:port=99999",
        "haproxy:tcp",
        "haproxy:tcp:99999",
        "haproxy:tls:/directory:99999",
        "haproxy:interface=x",
        "haproxy:haproxy:tcp:8080",
        "haproxy:haproxy",
        "unix",
        "8080:",
        "tcp:80\\",
        "a=b:c",
    ],
)
def test_refusals(wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        normalise(wrong)
    assert "\n" not in str(caught.value)


def test_a_description_is_taken_apart_as_twisted_does() -> None:
    text = r"tcp:8080:interface=\:\:1:backlog=5"
    kind, args, options = parse_description(text)
    assert (kind, args, options) == ("tcp", ("8080",), {"interface": "::1", "backlog": "5"})
    assert endpoints._parse(text) == ([kind, *args], options)


words = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=12)


@given(words, st.lists(words, max_size=3), st.dictionaries(words, words, max_size=3))
def test_descriptions_survive_their_text(kind: str, args: list[str], options: dict[str, str]) -> None:
    description = Description(kind, tuple(args), options)
    assert parse_description(str(description)) == description


@given(words)
def test_quoting_hides_every_word_from_twisted(word: str) -> None:
    assert endpoints._parse(f"unix:{quote(word)}") == (["unix", word], {})


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("tcp:8080", 8080),
        ("ssl:443:privateKey=k", 443),
        ("tls:/directory:443", 443),
        ("tls:/directory:port=443", 443),
        ("unix:/x", None),
        ("tcp:0", 0),
    ],
)
def test_tcp_port(text: str, port: int | None) -> None:
    assert tcp_port(text) == port


@pytest.mark.parametrize(
    ("text", "port"), [("haproxy:tcp:8080", 8080), ("haproxy:tls:/directory:443", 443), ("haproxy:unix:/x", None)]
)
def test_a_port_behind_a_proxy_is_bound_but_serves_no_direct_client(text: str, port: int | None) -> None:
    assert (bound_port(text), tcp_port(text)) == (port, None)
    direct = text.removeprefix("haproxy:")
    assert bound_port(direct) == tcp_port(direct) == port


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("unix:/run/icws/admin.sock", Exposure.UNIX),
        ("unix:/run/icws/admin.sock:mode=660", Exposure.UNIX),
        ("unix:address=/run/s", Exposure.UNIX),
        ("unix:\0abstract", Exposure.ANYWHERE),
        ("127.0.0.1:9091", Exposure.LOOPBACK),
        ("127.8.9.1:9091", Exposure.LOOPBACK),
        ("localhost:9091", Exposure.LOOPBACK),
        ("[::1]:9091", Exposure.LOOPBACK),
        ("tcp:9091:127.0.0.1", Exposure.LOOPBACK),
        ("ssl:9091:interface=127.0.0.1:privateKey=k", Exposure.LOOPBACK),
        ("9091", Exposure.ANYWHERE),
        ("0.0.0.0:9091", Exposure.ANYWHERE),
        ("[::]:9091", Exposure.ANYWHERE),
        ("10.0.0.1:9091", Exposure.ANYWHERE),
        ("host.example:9091", Exposure.ANYWHERE),
        ("ssl:9091:127.0.0.1", Exposure.ANYWHERE),
        ("systemd:domain=INET:index=0", Exposure.ANYWHERE),
        ("haproxy:tcp:9091:interface=127.0.0.1", Exposure.ANYWHERE),
    ],
)
def test_from_where_an_address_can_be_reached(address: str, expected: Exposure) -> None:
    assert exposure(normalise(address)) is expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("unix:/run/s", False),
        ("unix:/run/s:mode=660", False),
        ("unix:/run/s:mode=664", False),
        ("unix:/run/s:mode=666", True),
        ("unix:/run/s:622", True),
        ("tcp:9091:interface=127.0.0.1", False),
    ],
)
def test_unix_sockets_that_any_user_may_open(address: str, expected: bool) -> None:
    assert open_to_all(address) is expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("unix:/run/s", "unix:/run/s:mode=600"),
        (r"unix:/run/a\:b", r"unix:/run/a\:b:mode=600"),
        ("unix:/run/s:mode=660", "unix:/run/s:mode=660"),
        ("unix:/run/s:660", "unix:/run/s:660"),
        ("tcp:9091", "tcp:9091"),
    ],
)
def test_unix_sockets_that_are_their_owners_alone(address: str, expected: str) -> None:
    assert private(address) == expected


@pytest.mark.parametrize("text", ["tcp:{}", "127.0.0.1:{}", "[::1]:{}", "{}", "tcp:port={}"])
def test_a_port_of_more_digits_than_python_converts_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        normalise(text.format("9" * 5000))
