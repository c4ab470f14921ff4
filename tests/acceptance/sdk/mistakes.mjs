// The typical mistakes, each made with the real SDK, and many with our client: what an application is shown.
// `node mistakes.mjs '{"rows": [NAME, ...], "gateway": ..., "network": ..., "canisters": {...}, ...}'`
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import "./globals.mjs";
import { Actor, AnonymousIdentity, HttpAgent } from "@dfinity/agent";
import { IDL } from "@dfinity/candid";
import { DelegationChain, DelegationIdentity, Ed25519KeyIdentity } from "@dfinity/identity";
import { IcWebSocket, createWsConfig } from "ic-websocket-js";
import { types } from "./canister.mjs";
import { deferred, emit, main, within } from "./report.mjs";

// The file for script tags, which has everything.
const bundle = readFileSync(new URL("../../../icwsgw/devnet/static/icws-client.js", import.meta.url));
const { CanisterSocket, IDL: OurIDL } = await import(`data:text/javascript;base64,${bundle.toString("base64")}`);

// The SDK fetches the root key without waiting for it: where that fails, no code handles the rejection.
process.on("unhandledRejection", () => {});
// What the SDK itself logs of each error.
process.stderr.write = () => true;

const TEXT = IDL.Record({ text: IDL.Text });
const NUMBER = IDL.Record({ number: IDL.Nat });

const interfaceWith = (message) => {
  const { Outcome, WebsocketMessage } = types(IDL);
  return () => IDL.Service({ ws_message: IDL.Func([IDL.Record({ msg: WebsocketMessage }), IDL.Opt(message)], [Outcome], []) });
};

/** Makes a WebSocket of a page at `origin`. */
const construct = (make, origin) => {
  const before = globalThis.WebSocket;
  globalThis.WebSocket = class extends before {
    constructor(url, protocols) {
      super(url, protocols, { origin });
    }
  };
  try {
    return make();
  } finally {
    globalThis.WebSocket = before;
  }
};

const delegated = async (until) => {
  const session = Ed25519KeyIdentity.generate();
  const person = Ed25519KeyIdentity.generate();
  return DelegationIdentity.fromDelegation(session, await DelegationChain.create(person, session.getPublicKey(), until));
};

/**
 * Connects by the SDK and waits until that has ended.
 *
 * @param {object} options gateway, network, canister, identity, origin; message: the type of messages; races: as
 *   the SDK is, which does not wait for the root key; opened: called
 *   with the socket when it is open
 * @returns what an application is shown: what was thrown, the errors of onerror, the code and reason of onclose
 */
const attempt = async ({ gateway, network, canister, identity = Ed25519KeyIdentity.generate(), origin = "https://app.example", message = TEXT, races = false, opened = () => {}, begun = () => {} }) => {
  const shown = { principal: identity.getPrincipal().toText(), thrown: "", errors: [], code: 0, reason: "" };
  const ended = deferred();
  let socket;
  try {
    const canisterActor = Actor.createActor(interfaceWith(message), { agent: HttpAgent.createSync({ host: network }), canisterId: canister });
    socket = construct(
      () => new IcWebSocket(gateway, undefined, createWsConfig({ canisterId: canister, canisterActor, identity, networkUrl: network })),
      origin,
    );
    if (!races) {
      // The SDK begins to fetch the root key and does not wait for it: where that is not the mistake, wait.
      const rootKey = socket._httpAgent.fetchRootKey();
      const isValid = socket._isIncomingMessageValid.bind(socket);
      socket._isIncomingMessageValid = (message) => rootKey.then(() => isValid(message));
    }
    socket.onopen = async () => {
      try {
        await opened(socket);
      } catch (error) {
        shown.thrown = String(error.message);
        socket.close();
      }
    };
    socket.onmessage = () => {};
    socket.onerror = ({ error, message }) => shown.errors.push(String(error?.message ?? message));
    socket.onclose = ({ code, reason }) => {
      Object.assign(shown, { code, reason });
      ended.resolve();
    };
    await begun(socket);
  } catch (error) {
    shown.thrown = String(error.message);
    if (!socket) return shown;
    socket.close();
  }
  await within(20_000, "the end", ended.promise);
  return shown;
};

/** As attempt, by our client: the code of its first error. */
const ours = async ({ gateway, network, canister, origin = "https://app.example", message, sent }) => {
  const failed = deferred();
  const ended = deferred();
  const type = message === NUMBER ? { number: OurIDL.Nat } : { text: OurIDL.Text };
  class Browser extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols, { origin });
    }
  }
  const socket = new CanisterSocket({ gateway, network, canister, messageType: OurIDL.Record(type), WebSocket: Browser });
  socket.onerror = ({ error }) => failed.resolve(error);
  socket.onclose = () => ended.resolve();
  if (sent) socket.send(sent);
  const { code, message: words, hint } = await within(20_000, "an error", failed.promise);
  socket.close();
  await within(20_000, "the end", ended.promise);
  return { ours: `${code}: ${words}. ${hint}` };
};

/** Connects by the browser's WebSocket and sends one thing. */
const bare = async ({ gateway, payload }) => {
  const socket = construct(() => new WebSocket(gateway), "https://app.example");
  const ended = deferred();
  socket.onmessage = () => socket.send(payload);
  socket.onclose = ({ code, reason }) => ended.resolve({ principal: "", thrown: "", errors: [], code, reason });
  return within(20_000, "the end", ended.promise);
};

const post = async (url, value) => {
  const answer = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });
  if (!answer.ok) throw new Error(`${url}: ${await answer.text()}`);
};

const send = (message) => (socket) => socket.send(message);

/** What is done wrong, by the name of its row in docs/mistakes.md. */
const mistakes = {
  "wss on a plain port": (it) => attempt({ ...it, gateway: it.gateway.replace("ws:", "wss:"), canister: it.canisters.echo }),
  "ws on a TLS port": (it) => attempt({ ...it, gateway: it.tls.replace("wss:", "ws:"), canister: it.canisters.echo }),
  "the replica's port": (it) => attempt({ ...it, gateway: it.network.replace("http:", "ws:"), canister: it.canisters.echo }),
  "no gateway": (it) => attempt({ ...it, gateway: it.nobody, canister: it.canisters.echo }),
  "origin": (it) => attempt({ ...it, origin: "https://elsewhere.example", canister: it.canisters.echo }),
  "text": ({ gateway }) => bare({ gateway, payload: "hello" }),
  "bytes": ({ gateway }) => bare({ gateway, payload: new Uint8Array([1, 2, 3]) }),

  "anonymous": (it) => attempt({ ...it, identity: new AnonymousIdentity(), canister: it.canisters.echo }),
  "expired delegation": async (it) => attempt({ ...it, identity: await delegated(new Date(Date.now() - 60_000)), canister: it.canisters.echo }),
  "wrong canister": (it) => attempt({ ...it, canister: "rrkah-fqaaa-aaaaa-aaaaq-cai" }),
  "no methods": (it) => attempt({ ...it, canister: it.canisters.empty }),
  "stopped": (it) => attempt({ ...it, canister: it.canisters.stopped }),
  "not served": (it) => attempt({ ...it, canister: it.canisters.denied }),
  "ws_open traps": (it) => attempt({ ...it, canister: it.canisters.shy }),
  "never sends": (it) => attempt({ ...it, canister: it.canisters.mute }),
  "polls refused": (it) => attempt({ ...it, canister: it.canisters.unpolled }),

  "another network": (it) => attempt({ ...it, network: "https://icp-api.io", races: true, canister: it.canisters.echo }),
  "network blocked": (it) => attempt({ ...it, network: it.nobody.replace("ws:", "http:"), races: true, canister: it.canisters.echo }),
  "root key late": (it) => attempt({ ...it, network: it.slow, races: true, canister: it.canisters.echo }),

  "one trap": (it) => attempt({ ...it, canister: it.canisters.moody, opened: send({ text: "trap" }) }),
  "every message traps": async (it) => {
    await attempt({ ...it, canister: it.canisters.moody, opened: send({ text: "trap" }) });
    return attempt({ ...it, canister: it.canisters.moody, opened: send({ text: "trap" }) });
  },
  "Err": (it) => attempt({ ...it, canister: it.canisters.grumpy, opened: send({ text: "hello" }) }),
  "type sent": (it) => attempt({ ...it, canister: it.canisters.moody, message: NUMBER, opened: send({ number: 7n }) }),
  "type received": (it) => attempt({ ...it, canister: it.canisters.greeter, message: NUMBER }),
  "too big": (it) => attempt({ ...it, canister: it.canisters.echo, opened: send({ text: "x".repeat(2_300_000) }) }),
  "send before open": (it) => attempt({ ...it, canister: it.canisters.echo, begun: send({ text: "early" }) }),
  "two tabs": async (it) => {
    const identity = Ed25519KeyIdentity.generate();
    let second;
    const first = await attempt({ ...it, identity, canister: it.canisters.echo, opened: () => void (second = attempt({ ...it, identity, canister: it.canisters.echo, opened: (socket) => setTimeout(() => socket.close(), 500) })) });
    await second;
    return first;
  },
};

/** The same with our client, where its error has more than the reason of the close. */
const withOurs = {
  "wss on a plain port": (it) => ours({ ...it, gateway: it.gateway.replace("ws:", "wss:"), canister: it.canisters.echo }),
  "no gateway": (it) => ours({ ...it, gateway: it.nobody, canister: it.canisters.echo }),
  "origin": (it) => ours({ ...it, origin: "https://elsewhere.example", canister: it.canisters.echo }),
  "wrong canister": (it) => ours({ ...it, canister: "rrkah-fqaaa-aaaaa-aaaaq-cai" }),
  "never sends": (it) => ours({ ...it, canister: it.canisters.mute }),
  "polls refused": (it) => ours({ ...it, canister: it.canisters.unpolled }),
  "another network": (it) => ours({ ...it, network: "https://icp-api.io", canister: it.canisters.echo }),
  "network blocked": (it) => ours({ ...it, network: it.nobody.replace("ws:", "http:"), canister: it.canisters.echo }),
  "one trap": (it) => ours({ ...it, canister: it.canisters.moody, sent: { text: "trap" } }),
  "type received": (it) => ours({ ...it, canister: it.canisters.greeter, message: NUMBER }),
};

/** Those that need something of their own: a clock that is wrong for the whole process, a replica that has ended. */
const alone = {
  "clock": async (it) => {
    const now = Date.now;
    Date.now = () => now() - 600_000;
    try {
      return await attempt({ ...it, canister: it.canisters.echo });
    } finally {
      Date.now = now;
    }
  },
  "replica down": (it) => attempt({ ...it, canister: it.canisters.echo }),
};

/** A network that lets everybody wait for its root key. */
const slow = async () => {
  const server = createServer(() => {});
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return `http://127.0.0.1:${server.address().port}`;
};

await main(async ({ rows, ...given }) => {
  const it = { ...given, slow: await slow() };
  const run = async (name) => {
    const [shown, also] = await Promise.all([(mistakes[name] ?? alone[name])(it), withOurs[name]?.(it)]);
    emit({ event: "row", name, ...shown, ...also });
  };
  await Promise.all(rows.filter((name) => name in mistakes).map(run));
  for (const name of rows.filter((name) => name in alone)) await run(name);
  return { rows: rows.length };
});
