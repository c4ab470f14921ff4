"""The scripts of deploy/: shellcheck reads them, and they run with stubs for docker, dfx and certbot."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from icwsgw.server.tls import PemFiles, ServerTls
from tests.deploy.tools import DEPLOY, calls, run, stub, tool
from tests.support import pem

pytestmark = pytest.mark.deploy

SCRIPTS = sorted(path for path in DEPLOY.rglob("*.sh") if "volumes" not in path.parts)


@pytest.fixture
def compose(tmp_path: Path) -> Path:
    """A copy of deploy/compose, where a .env may be made."""
    copy = tmp_path / "deploy" / "compose"
    shutil.copytree(DEPLOY / "compose", copy, ignore=shutil.ignore_patterns(".env", "volumes"))
    return copy


def call(compose: Path, script: str, *words: str, status: int = 0, without: str = "") -> tuple[str, list[str]]:
    """Run a script from elsewhere with stubs on the path: its output, and the programs that it called."""
    bin = compose.parent / "bin"
    for name in {"docker", "dfx"} - {without}:
        stub(bin, name)
    # nothing of this machine but the basic programs
    path = f"{bin}:/usr/bin:/bin"
    output = run(compose / "scripts" / script, *words, status=status, environment={"PATH": path}, cwd=compose.parent)
    return output, calls(bin)


def test_shellcheck_has_nothing_to_say() -> None:
    assert SCRIPTS
    run(tool("shellcheck", "shellcheck"), "-x", "-P", "SCRIPTDIR", *SCRIPTS)


def test_all_but_the_shared_part_can_be_run() -> None:
    assert [path.name for path in SCRIPTS if not os.access(path, os.X_OK)] == ["common.sh"]


FILES = "docker compose -f docker-compose.yml -f docker-compose-{}.yml"


def test_the_local_setup_with_dfx(compose: Path) -> None:
    output, called = call(compose, "start_local_docker_environment.sh")
    assert called == ["dfx start --clean --background", FILES.format("local") + " --env-file .env.local up -d --build"]
    assert "ws://127.0.0.1:8080" in output
    _, called = call(compose, "stop_local_docker_environment.sh")
    assert called[2:] == [FILES.format("local") + " --env-file .env.local down", "dfx stop"]


def test_the_local_setup_without_dfx(compose: Path) -> None:
    output, called = call(compose, "start_local_docker_environment.sh", status=1, without="dfx")
    assert called == []
    assert "--devnet" in output
    _, called = call(compose, "start_local_docker_environment.sh", "--devnet", "--wait", without="dfx")
    assert called == [
        FILES.format("local") + " -f docker-compose-devnet.yml --env-file .env.local up -d --build --wait"
    ]


def test_the_production_setup(compose: Path) -> None:
    output, called = call(compose, "start_prod_docker_environment.sh", status=1)
    assert called == []
    assert "cp .env.example .env" in output
    shutil.copy(compose / ".env.example", compose / ".env")
    _, called = call(compose, "start_prod_docker_environment.sh")
    assert called == [FILES.format("prod") + " --env-file .env up -d"]
    _, called = call(compose, "start_prod_docker_environment.sh", "--monitoring", "--build")
    both = FILES.format("prod") + " -f docker-compose-monitoring.yml"
    assert called[1:] == [both + " --env-file .env up -d --build"]
    _, called = call(compose, "stop_prod_docker_environment.sh")
    assert called[2:] == [both + " --env-file .env down"]


def test_a_certificate_for_the_domain_of_the_env_file(compose: Path) -> None:
    (compose / ".env").write_text("IC_URL=https://icp0.io\nDOMAIN_NAME=icws.example\n")
    _, called = call(compose, "certbot_certonly.sh", "--dry-run")
    container = (
        f"docker run --rm --name certbot -p 80:80 -v {compose}/volumes/ic-ws-gateway/data/certs:/etc/letsencrypt "
        f"-v {compose}/scripts/own_data.sh:/own_data.sh:ro certbot/certbot "
    )
    assert called == [
        container + "certonly --standalone -d icws.example "
        "--deploy-hook sh /own_data.sh /none /etc/letsencrypt --dry-run"
    ]
    _, called = call(compose, "certbot_renew.sh")
    assert called[1:] == [container.replace(" certbot/", " certbot/") + "renew --quiet"]
    (compose / ".env").write_text("DOMAIN_NAME=\n")
    output, called = call(compose, "certbot_certonly.sh", status=1)
    assert "DOMAIN_NAME is not set" in output


def test_the_data_directory_is_given_to_the_gateways_user(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for directory in ("certs/live/icws.example", "certs/archive/icws.example", "certs/accounts", "traces"):
        (data / directory).mkdir(parents=True)
    (data / "key_pair").touch(0o600)
    key = data / "certs/archive/icws.example/privkey1.pem"
    key.touch(0o600)
    account = data / "certs/accounts/secret"
    account.touch(0o600)
    for path in data.rglob("*"):
        if path.is_dir():
            path.chmod(0o700)
    bin = tmp_path / "bin"
    for name in ("chown", "chgrp"):
        stub(bin, name)
    run("sh", DEPLOY / "compose/scripts/own_data.sh", data, environment={"PATH": f"{bin}:{os.environ['PATH']}"})
    assert calls(bin) == [
        f"chown 10001:10001 {data}",
        f"chown -R 10001:10001 {data}/key_pair",
        f"chown -R 10001:10001 {data}/traces",
        *(f"chgrp 10001 {data}/certs{part}" for part in ("", "/live", "/archive")),
        *(f"chgrp -R 10001 {data}/certs/{part}" for part in ("live", "archive")),
    ]
    assert stat.S_IMODE(key.stat().st_mode) == 0o640
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o750
    assert stat.S_IMODE((data / "key_pair").stat().st_mode) == 0o600
    assert stat.S_IMODE(account.stat().st_mode) == 0o600


def test_a_renewed_certificate_reaches_the_gateway_without_a_restart(tmp_path: Path) -> None:
    """certbot's directory layout, its deploy hook, and the part of the gateway that looks at the files."""
    authority = pem.authority()
    live, archive, served = tmp_path / "live", tmp_path / "archive", tmp_path / "tls"
    live.mkdir()
    archive.mkdir()

    def renew(number: int) -> None:
        certificate, key = pem.server(authority).write(archive, str(number))
        for name, target in (("fullchain.pem", certificate), ("privkey.pem", key)):
            (live / name).unlink(missing_ok=True)
            (live / name).symlink_to(target)
        run(
            DEPLOY / "certbot/icws-deploy-hook.sh",
            environment={
                "RENEWED_LINEAGE": str(live),
                "ICWS_TLS_DIR": str(served),
                "ICWS_TLS_GROUP": str(os.getgid()),
            },
        )

    renew(1)
    assert sorted(path.name for path in served.iterdir()) == ["fullchain.pem", "privkey.pem"]
    for path in served.iterdir():
        assert not path.is_symlink()
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    tls = ServerTls(PemFiles(served / "fullchain.pem", served / "privkey.pem"))
    assert not tls.reload_if_changed()
    renew(2)
    assert tls.reload_if_changed()
    assert (served / "privkey.pem").read_bytes() == (live / "privkey.pem").read_bytes()


def test_the_hook_refuses_to_run_without_certbot() -> None:
    output = run(DEPLOY / "certbot/icws-deploy-hook.sh", status=2)
    assert "RENEWED_LINEAGE" in output
