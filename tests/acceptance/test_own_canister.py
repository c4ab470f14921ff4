"""docs/build/first-canister.md: two commands from a clone to two browser tabs on a canister of one's own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack
from tests.acceptance.processes import ROOT, Server, http_get, run_node
from tests.acceptance.test_demo_page import chromium
from tests.acceptance.test_readme_code import code
from tests.acceptance.test_sdk import abnormal, scenario
from tests.support.built_canisters import TARGET, build, built, run_cargo

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk, pytest.mark.rust]

PAGE = "docs/build/first-canister.md"


def commands() -> list[list[str]]:
    """The two commands of the page for Rust, as words."""
    (block,) = (block for block in code(PAGE, "sh") if "cargo build " in block)
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]


def test_two_commands(stacks: Callable[..., Stack], tmp_path: Path) -> None:
    assert code(PAGE, "sh")[0].startswith("git clone ")
    cargo, run = commands()
    run_cargo(cargo, ROOT)
    name, _, file = run[run.index("--devnet-canister") + 1].partition("=")
    # where cargo puts it unless CARGO_TARGET_DIR says otherwise
    assert file == f"examples/chat_canister/target/{TARGET}/release/chat.wasm"
    own = tmp_path / "chat.wasm"
    own.write_bytes(built("chat").read_bytes())
    words = [word.replace(file, str(own)) for word in run[1:]]
    assert (run[0], "--devnet-reload" in words) == ("./run", True)
    stack = stacks(*words)
    stack.server.wait_for_line(rf"canister {name} is {stack.chat}")
    # the interface is in the module
    interface = (ROOT / "examples" / "chat_canister" / "chat.did").read_bytes()
    assert http_get(f"{stack.network}/{name}.did") == (200, interface)

    def change(event: dict[str, object]) -> None:
        if event["event"] == "talking":
            # another file with the same code: an empty custom section
            own.write_bytes(own.read_bytes() + b"\0\1\0")

    places = {"url": stack.network, "gateway": stack.gateway, "canister": stack.chat, "executable": chromium()}
    result = run_node("own_canister.mjs", places, on_event=change)[-1]
    assert "is here" in str(result["log"])
    assert any("4105" in note for note in result["notes"]), result["notes"]
    assert result["complaints"] == []
    stack.server.wait_for_line(rf"canister {name}: \S+ is here")
    stack.server.wait_for_line(rf"canister {name} is upgraded: {own} has changed")


@pytest.mark.parametrize("order", ["executed", "accepted"])
def test_the_sdk_on_the_cdk_of_crates_io(stacks: Callable[..., Stack], tmp_path: Path, order: str) -> None:
    (tmp_path / "echo.wasm").write_bytes(build("echo"))
    stack = stacks(
        f"--devnet-canister=echo={tmp_path / 'echo.wasm'}",
        f"--relay-order={order}",
        "--verify-batches",
        "--verify-queries=on",
    )
    result = scenario("bursts", stack, count=60, burst=30)
    assert result["errors"] == []
    assert [answer.rsplit(" ", 1)[1] for answer in result["answers"]] == [str(each) for each in range(60)]  # type: ignore[attr-defined]
    result = scenario("many", stack, clients=4, messages=5)
    assert result["ordered"] == [True] * 4
    assert abnormal(result["closes"], 4) == []
    assert result["errors"] == []


def test_a_missing_file_ends_the_start_with_one_sentence(tmp_path: Path) -> None:
    # another replica may have the usual port
    server = Server(["icws-devnet", "--listen=0", "--devnet-canister=own=none.wasm"], cwd=tmp_path)
    assert server.wait() == 1
    assert server.lines[-1] == (
        f"twistd icws-devnet: --devnet-canister own: cannot read {tmp_path}/none.wasm: No such file or directory"
    )


def test_the_code_on_the_page_is_that_of_the_example() -> None:
    source = (ROOT / "examples" / "chat_canister" / "src" / "lib.rs").read_text()
    shown = code(PAGE, "rust")
    assert shown
    for block in shown:
        assert block in source
    assert re.search(r"^ic-websocket-cdk = ", (ROOT / "examples/chat_canister/Cargo.toml").read_text(), re.M)
