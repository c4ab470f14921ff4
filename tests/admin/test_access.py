"""Who may use the admin API, from where, and with what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from icwsgw.admin import access
from icwsgw.admin.access import MAX_TOKEN, Access, Caller, Refused, TokenFile, admin_access
from icwsgw.config.addresses import Exposure, is_this_machine
from icwsgw.config.schema import GatewayConfig
from icwsgw.errors import ConfigError

TOKEN = "0123456789abcdef0123456789abcdef"
JSON = {"content-type": "application/json"}


def token_file(tmp_path: Path, text: str = TOKEN + "\n", mode: int = 0o600) -> Path:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


def refusal(to: Access, method: str = "GET", **headers: str) -> int | None:
    """The status with which a request is refused, if it is."""
    try:
        to.check(Caller(method, {name.replace("_", "-"): value for name, value in headers.items()}))
    except Refused as error:
        return error.status
    return None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": TOKEN}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"authorization": f"Bearer {TOKEN}0"}, 401),
        ({"authorization": f"Bearer {TOKEN}, Bearer {TOKEN}"}, 401),
        ({"authorization": "Bearer \xff\xfe"}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, None),
        ({"authorization": f"bearer  {TOKEN} "}, None),
        # what guards loopback without a token is not asked for where there is one
        ({"authorization": f"Bearer {TOKEN}", "host": "icws.example", "origin": "https://ops.example"}, None),
    ],
)
@pytest.mark.parametrize("exposure", Exposure)
def test_a_token_is_needed_wherever_there_is_one(
    tmp_path: Path, exposure: Exposure, headers: dict[str, str], status: int | None
) -> None:
    assert refusal(Access(exposure, TokenFile(token_file(tmp_path))), **headers) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:9091"}, None),
        ({"host": "localhost"}, None),
        ({"host": "[::1]:9091"}, None),
        ({}, 403),
        ({"host": "rebound.example:9091"}, 403),
        ({"host": "127.0.0.1:9091", "origin": "https://evil.example"}, 403),
        ({"host": "127.0.0.1:9091", "origin": "null"}, 403),
        ({"host": "127.0.0.1:9091", "origin": "http://127.0.0.1:9091"}, 403),
        ({"host": "127.0.0.1:9091, evil.example"}, 403),
    ],
)
def test_web_pages_may_not_use_loopback(headers: dict[str, str], status: int | None) -> None:
    assert refusal(Access(Exposure.LOOPBACK, None), **headers) == status


def test_a_unix_socket_is_guarded_by_its_mode() -> None:
    assert refusal(Access(Exposure.UNIX, None), host="anything") is None
    assert refusal(Access(Exposure.UNIX, None)) is None


def test_other_machines_may_do_nothing_without_a_token() -> None:
    with pytest.raises(ConfigError):
        Access(Exposure.ANYWHERE, None)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("exposure", [Exposure.UNIX, Exposure.LOOPBACK])
def test_what_changes_something_is_json(exposure: Exposure, method: str) -> None:
    to = Access(exposure, None)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        assert refusal(to, method, host="localhost", content_type=kind) == 415
    assert refusal(to, method, host="localhost") == 415
    assert refusal(to, method, host="localhost", content_type="Application/JSON; charset=utf-8") is None


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1.2.3:80", "localhost:9091", "LOCALHOST", "[::1]", "[::1]:1", "::1"]
)
def test_this_machine(host: str) -> None:
    assert is_this_machine(host) is (host != "::1")


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1.",
        "10.0.0.1",
        "[::2]",
        "0.0.0.0",
        "x@127.0.0.1",
        # a zone may hold anything; the fuzzer's first find
        "[::1%1]:]:9",
        "[::1%evil.example]",
        "[::1%25lo]:9091",
        "[127.0.0.1]",
        "[[::1]]",
    ],
)
def test_not_this_machine(host: str) -> None:
    assert not is_this_machine(host)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has 0 characters"),
        ("short", "has 5 characters"),
        ("x" * (MAX_TOKEN + 1), "characters, not"),
        ("two words of a token", "not one word"),
        ("ünicode-is-not-sent-by-all", "not one word of ASCII"),
    ],
)
def test_tokens_of_no_use(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TokenFile(token_file(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the admin token file .*: No such file"):
        TokenFile(tmp_path / "absent")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_may_read_is_warned_of(tmp_path: Path, mode: int, warned: bool) -> None:
    warnings: list[dict[str, Any]] = []
    TokenFile(token_file(tmp_path, mode=mode), lambda message, **fields: warnings.append(fields))
    assert [fields["mode"] for fields in warnings] == ([f"{mode:o}"] if warned else [])


def test_a_new_token_is_taken_at_a_reload_and_one_of_no_use_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[str] = []

    class Log:
        def error(self, message: str, **fields: Any) -> None:
            errors.append(message)

    monkeypatch.setattr(access, "_log", Log())
    path = token_file(tmp_path)
    to = Access(Exposure.UNIX, TokenFile(path))
    path.write_text(TOKEN.upper())
    assert refusal(to, authorization=f"Bearer {TOKEN}") is None, "not before it is asked to"
    to.read_again()
    assert refusal(to, authorization=f"Bearer {TOKEN}") == 401
    assert refusal(to, authorization=f"Bearer {TOKEN.upper()}") is None
    path.write_text("")
    to.read_again()
    assert errors == ["invalid admin token file ignored"]
    assert refusal(to, authorization=f"Bearer {TOKEN.upper()}") is None
    Access(Exposure.UNIX, None).read_again()


def test_the_access_of_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []

    class Log:
        def warn(self, message: str, **fields: Any) -> None:
            warned.append(fields["address"])

    monkeypatch.setattr(access, "_log", Log())
    for address in ("unix:/run/s", "unix:/run/s:mode=660", "unix:/run/s:mode=666"):
        assert refusal(admin_access(GatewayConfig(data_dir=tmp_path, admin_endpoint=address))) is None
    assert warned == ["unix:/run/s:mode=666"]
    config = GatewayConfig(data_dir=tmp_path, admin_endpoint="tcp:9091", admin_token_file=token_file(tmp_path))
    assert refusal(admin_access(config)) == 401
