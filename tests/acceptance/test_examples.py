"""The programs of examples/ and docs/build that no other test runs, against a gateway and its local network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from icwsgw.client.network_requests import NetworkRequests
from icwsgw.client.root_key import fetch_root_key
from icwsgw.errors import Rejected
from icwsgw.ic.candid import Text, encode
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Stack, start_stack
from tests.acceptance.processes import CLIENT, ROOT, SDK, http_get, node_modules, run_node
from tests.acceptance.test_demo_page import chromium

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]

EXAMPLES = ROOT / "examples"
CANISTERS = {
    "greeter": "first_canister/greeter.py",
    "dashboard": "dashboard/dashboard.py",
    "game": "game/game.py",
    "feed": "feed/feed.py",
    "news": "migration/after.py",
    "old-news": "migration/before.py",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Where everything is; canisters by name."""
    own = [f"--devnet-canister={name}={EXAMPLES / file}" for name, file in CANISTERS.items()]
    stack: Stack = start_stack(tmp_path_factory.mktemp("examples"), *own)
    canisters = json.loads(http_get(f"{stack.network}/_/info")[1])["canisters"]
    yield {**canisters, "gateway": stack.gateway, "network": stack.network}
    assert stack.server.stop() == 0, stack.server.output


def here(program: str, places: Mapping[str, str], canister: str = "echo") -> str:
    """A program with the addresses of this test."""
    written = {"ws://127.0.0.1:8080": "gateway", "http://127.0.0.1:4943": "network"}
    for address, name in written.items():
        program = program.replace(address, places[name])
    return program.replace("be2us-64aaa-aaaaa-qaabq-cai", places[canister])


def with_client(folder: Path) -> None:
    """Put the client where programs of a folder find it."""
    if not (folder / "node_modules").exists():
        node_modules(CLIENT)
        (folder / "node_modules").mkdir()
        (folder / "node_modules" / "icws-client").symlink_to(CLIENT)


def node(folder: Path, program: str, *more: str) -> list[str]:
    """Run a program in a folder that has the client; the lines that it prints."""
    with_client(folder)
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", program, *more],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_pages(places: dict[str, Any], tmp_path: Path) -> None:
    """The dashboard, the game, the chat room, and in pages of their own what bundlers make of other programs."""
    for name, page in {"dashboard": "dashboard", "game": "game", "chat": "chat_canister"}.items():
        text = (EXAMPLES / page / "index.html").read_text()
        (tmp_path / f"{name}.html").write_text(here(text, places, name))
    bundle_identities(tmp_path, places)
    bundle_sdk(tmp_path, places)
    names = ("dashboard", "game", "chat", "identities", "sdk")
    urls = {name: (tmp_path / f"{name}.html").as_uri() for name in names}
    result = run_node("examples.mjs", {**places, "urls": urls, "executable": chromium()})[-1]
    assert result["dashboard"] == "coffee: 2tea: 0cake: 1"
    assert result["game"] == {"steps": [1], "y": "200"}, "each message of the loop comes, in order"
    assert "hello everybody" in result["chat"]
    kept, person = result["identities"]
    assert Principal.from_text(kept) != Principal.from_text(person)
    assert result["sdk"] == ["hello", "1000"]


def bundle(folder: Path, name: str, source: str, *options: str, modules: Path) -> None:
    """Make a page of a program, as a builder's esbuild would."""
    (folder / f"{name}.mjs").write_text(source)
    done = subprocess.run(
        [
            str(node_modules(CLIENT) / ".bin" / "esbuild"),
            f"{name}.mjs",
            "--bundle",
            "--format=esm",
            f"--outfile={name}.js",
            *options,
        ],
        cwd=folder,
        env={"NODE_PATH": str(modules), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # a page from a file may not load modules from files
    script = (folder / f"{name}.js").read_text().replace("</script", "<\\/script")
    (folder / f"{name}.html").write_text(f'<!doctype html><script type="module">{script}</script>')


def bundle_identities(folder: Path, places: dict[str, Any]) -> None:
    """The programs with a key that is kept, and with Internet Identity, whose window a stand-in replaces."""
    for name in ("kept", "internet_identity"):
        shutil.copy(EXAMPLES / "identities" / f"{name}.mjs", folder)
    (folder / "auth.mjs").write_text(
        """
        import { DelegationChain, DelegationIdentity, Ed25519KeyIdentity } from "@icp-sdk/core/identity";
        export class AuthClient {
          #identity;
          isAuthenticated() { return this.#identity !== undefined; }
          async signIn() {
            const [person, session] = [Ed25519KeyIdentity.generate(), Ed25519KeyIdentity.generate()];
            globalThis.person = person.getPrincipal().toText();
            const chain = await DelegationChain.create(person, session.getPublicKey(), new Date(Date.now() + 600_000));
            this.#identity = DelegationIdentity.fromDelegation(session, chain);
          }
          async getIdentity() { return this.#identity; }
        }
        """
    )
    program = identities_program(places)
    alias = f"--alias:@icp-sdk/auth/client={folder / 'auth.mjs'}"
    client = f"--alias:icws-client={CLIENT / 'src' / 'index.js'}"
    bundle(folder, "identities", program, alias, client, modules=CLIENT / "node_modules")


def identities_program(places: dict[str, Any]) -> str:
    """Both connect, and say who they are."""
    where = {**{name: places[name] for name in ("gateway", "network")}, "canister": places["greeter"]}
    return f"""
        import {{ keptIdentity }} from "icws-client";
        import {{ connect as kept }} from "./kept.mjs";
        import {{ connect as person, logIn }} from "./internet_identity.mjs";
        const where = {json.dumps(where)};
        const greeted = async (socket) => {{
          await socket.request({{ text: "Ada" }}, {{ matches: ({{ text }}) => text === "Hello, Ada!" }});
          socket.close();
        }};
        const logged = [];
        console.log = (words) => logged.push(words);
        await greeted(await kept(where));
        await logIn();
        await greeted(person(where));
        const mine = (await keptIdentity()).getPrincipal().toText();
        if (logged[0] !== `you are ${{mine}}`) throw new Error(logged[0]);
        globalThis.made = [mine, globalThis.person];
    """


def bundle_sdk(folder: Path, places: dict[str, Any]) -> None:
    """The program on the SDK, with the settings that docs/build/sdk.md gives."""
    (command,) = re.findall(r"^npx esbuild (.*)$", (ROOT / "docs" / "build" / "sdk.md").read_text(), re.M)
    settings = [word.replace("'", "") for word in command.split() if word.startswith("--define")]
    vite = (EXAMPLES / "sdk_vite" / "vite.config.mjs").read_text()
    for setting in settings:
        name, _, value = setting.removeprefix("--define:").partition("=")
        assert re.search(rf'"?{re.escape(name)}"?: [\'"]+{re.escape(value.strip(chr(34)))}', vite), setting
    node_modules(SDK)
    program = "globalThis.logged = []; console.log = (...words) => globalThis.logged.push(words[0] + '');\n" + here(
        (EXAMPLES / "sdk.mjs").read_text(), places
    )
    bundle(folder, "sdk", program, *settings, modules=SDK / "node_modules")


def test_requests_are_matched(places: dict[str, Any], tmp_path: Path) -> None:
    program = here((EXAMPLES / "requests.mjs").read_text(), places)
    assert node(tmp_path, program) == ["1 who, 2 where, 3 when"]


def test_a_program_keeps_its_key(places: dict[str, Any], tmp_path: Path) -> None:
    program = (EXAMPLES / "identities" / "program.mjs").read_text()
    where = {"gateway": places["gateway"], "network": places["network"], "canister": places["greeter"]}
    program += f"""
        const socket = await connect({json.dumps(where)}, "key.json");
        await socket.request({{ text: "Ada" }}, {{ matches: ({{ text }}) => text === "Hello, Ada!" }});
        socket.close();
        console.log((await keyOf("key.json")).getPrincipal().toText());
    """
    assert node(tmp_path, program) == node(tmp_path, program)
    assert (tmp_path / "key.json").stat().st_mode & 0o777 == 0o600


def test_a_feed_shows_what_was_missed_and_takes_each_entry_once(places: dict[str, Any], tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "feed" / "feed.mjs", tmp_path)
    where = {"gateway": places["gateway"], "network": places["network"], "canister": places["feed"]}
    program = f"""
        import {{ connect }} from "./feed.mjs";
        const where = {json.dumps(where)};
        // shows, and resolves what waits for a text
        const reader = () => {{
          const [texts, waiting] = [[], new Map()];
          const show = (text) => {{
            texts.push(text);
            waiting.get(text)?.();
          }};
          const shown = (text) => texts.includes(text) || new Promise((resolve) => waiting.set(text, resolve));
          return {{ texts, show, shown }};
        }};
        const [here, there] = [reader(), reader()];
        const listener = connect(where, here.show);
        const speaker = connect(where, there.show);
        await Promise.all([listener.socket.opened, speaker.socket.opened]);
        speaker.say("one");
        await here.shown("one");
        // the listener's message traps, which ends its connection: another entry comes meanwhile
        await fetch(`${{where.network}}/_/faults`, {{
          method: "POST",
          headers: {{ "Content-Type": "application/json" }},
          body: JSON.stringify({{ kind: "trap", method: "ws_message", canister: "feed", count: 1 }}),
        }});
        const lost = new Promise((resolve) => listener.socket.addEventListener("disconnect", resolve));
        listener.say("three");
        await lost;
        speaker.say("two");
        await there.shown("two");
        await here.shown("three");
        await there.shown("three");
        console.log(here.texts.join(" "), "/", there.texts.join(" "));
        listener.socket.close();
        speaker.socket.close();
    """
    assert node(tmp_path, program)[-1] == "one two three / one two three"


def test_news_by_messages_and_by_the_old_query(places: dict[str, Any], tmp_path: Path) -> None:
    network = NetworkRequests(places["network"])
    root_key = fetch_root_key(places["network"])
    someone = Ed25519Identity(b"\7" * 32)
    for name in ("news", "old-news"):
        paper = Principal.from_text(places[name])
        for text in ("one", "two"):
            network.call(paper, "publish", encode([Text], [text]), someone, root_key)
        with pytest.raises(Rejected, match="no update method 'unpublish'"):
            network.call(paper, "unpublish", encode([], []), someone, root_key)
    shutil.copy(EXAMPLES / "migration" / "page.mjs", tmp_path)
    where = {"gateway": places["gateway"], "network": places["network"], "canister": places["news"]}
    program = f"""
        import {{ follow }} from "./page.mjs";
        const where = {json.dumps(where)};
        const all = [];
        let asked = 0;
        // stands for an agent's query: the first two are there, what comes later comes as messages
        const newsAfter = async (number) => (asked++, {{ first: number, texts: ["one", "two"].slice(number) }});
        const page = follow(where, newsAfter, (texts) => {{
          all.push(...texts);
          if (all.length === 2) console.log("listening");
          if (all.length === 3) {{
            console.log(all.join(" "), asked);
            page.stop();
          }}
        }});
    """
    with_client(tmp_path)
    with subprocess.Popen(
        ["node", "--input-type=module", "--eval", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as page:
        assert page.stdout is not None
        assert page.stdout.readline() == "listening\n"
        paper = Principal.from_text(places["news"])
        network.call(paper, "publish", encode([Text], ["three"]), someone, root_key)
        assert page.stdout.readline() == "one two three 1\n"
    assert page.returncode == 0


@pytest.mark.parametrize(
    ("program", "printed"),
    [("query.py", r".*, AppMessage\n\d+ members\n"), ("identities/identities.py", r"[a-z0-9-]{63}\n")],
)
def test_programs_in_python(places: dict[str, Any], tmp_path: Path, program: str, printed: str) -> None:
    text = here((EXAMPLES / program).read_text(), places)
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert re.fullmatch(printed, done.stdout), done.stdout + done.stderr


def test_the_policy_of_an_asset_canister_names_gateways(tmp_path: Path) -> None:
    file = EXAMPLES / "mainnet" / ".ic-assets.json5"
    (rules,) = node(tmp_path, "console.log(JSON.stringify(eval(process.argv[1])));", file.read_text())
    (rule,) = json.loads(rules)
    policy = dict(each.strip().split(" ", 1) for each in rule["headers"]["Content-Security-Policy"].split(";"))
    assert "wss://one.example" in policy["connect-src"].split()
    assert "https://icp-api.io" in policy["connect-src"].split()


@pytest.mark.rust
def test_the_compiler_reads_the_canister_in_motoko() -> None:
    folder = ROOT / "tests" / "canisters" / "counter"
    node_modules(folder)
    program = (
        'import motoko from "motoko"; import { readFileSync } from "node:fs";'
        'console.log(motoko.parseMotoko(readFileSync(process.argv[1], "utf8")).name);'
    )
    read = ["node", "--input-type=module", "--eval", program, str(EXAMPLES / "motoko" / "main.mo")]
    done = subprocess.run(read, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "Prog\n", done.stderr[-500:]
