import assert from "node:assert/strict";
import { test } from "node:test";
import { Ed25519KeyIdentity } from "@icp-sdk/core/identity";
import { REJECT_HINTS } from "../src/close_codes.js";
import { CanisterSocket } from "../src/index.js";
import { CLOSING_MS } from "../src/link.js";
import { canister, event, fakeGateway, rootKey } from "./fake.js";

const bytes = (text) => new TextEncoder().encode(text);
const text = (data) => new TextDecoder().decode(data);
const pauses = { firstMs: 2, laterMs: 2, mostMs: 4 };

/** A socket on a gateway in memory. */
const make = (options = {}, gateway = fakeGateway()) => {
  const socket = new CanisterSocket({ gateway: "ws://gateway.example", canister, rootKey, WebSocket: gateway.WebSocket, pauses, ...options });
  const errors = [];
  socket.onerror = ({ error }) => errors.push(error);
  return { socket, gateway, errors, codes: () => errors.map(({ code }) => code) };
};

const opened = async (options, gateway) => {
  const made = make(options, gateway);
  const wire = await made.gateway.dialled(0);
  await wire.opens();
  await made.socket.opened;
  return { ...made, wire };
};

test("messages that wait for the session leave in order, numbered from 1", async () => {
  const { socket, gateway } = make();
  for (const word of ["a", "b", "c"]) socket.send(bytes(word));
  const wire = await gateway.dialled(0);
  assert.equal(wire.calls.length, 1);
  await wire.opens();
  const calls = await gateway.calls(wire, 4);
  assert.deepEqual(calls.slice(1), [
    { sequence: 1, content: "a" },
    { sequence: 2, content: "b" },
    { sequence: 3, content: "c" },
  ]);
  assert.equal(socket.state, "open");
  socket.close();
  assert.equal((await socket.closed).code, 1000);
});

test("a message that is sent at once when the session is open leaves", async () => {
  const { socket, gateway } = make();
  const wire = await gateway.dialled(0);
  const sent = socket.opened.then(() => socket.send(bytes("a")));
  await wire.opens();
  await sent;
  assert.deepEqual((await gateway.calls(wire, 2)).slice(1), [{ sequence: 1, content: "a" }]);
  socket.close();
});

test("a keep-alive leaves before messages that wait, which are numbered when they leave", async () => {
  const { socket, gateway, wire } = await opened();
  wire.bufferedAmount = 1_000_000; // the network takes nothing
  for (const word of ["a", "b"]) socket.send(bytes(word));
  assert.equal(socket.bufferedAmount, 1_000_002);
  await wire.acknowledges(0);
  wire.bufferedAmount = 0;
  assert.deepEqual((await gateway.calls(wire, 4)).slice(1), [
    { sequence: 1, keepAlive: 2 },
    { sequence: 2, content: "a" },
    { sequence: 3, content: "b" },
  ]);
  socket.close();
});

test("a keep-alive does not wait for the pace", async () => {
  const { socket, gateway, wire } = await opened({ pace: { burst: 1, perSecond: 0.001 } });
  for (const word of ["a", "b"]) socket.send(bytes(word));
  await gateway.calls(wire, 2);
  await wire.acknowledges(1);
  assert.deepEqual((await gateway.calls(wire, 3)).slice(1), [{ sequence: 1, content: "a" }, { sequence: 2, keepAlive: 2 }]);
  socket.close();
  assert.deepEqual((await socket.closed).unsent.map(text), ["b"]);
});

test("send() tells when to stop, and nothing is dropped", async () => {
  const { socket, gateway, wire } = await opened({ maxBufferedMessages: 4 });
  wire.bufferedAmount = 1_000_000;
  assert.deepEqual(["a", "b", "c", "d"].map((word) => socket.send(bytes(word))), [true, true, false, false]);
  assert.throws(() => socket.send(bytes("e")), { code: "buffer-full" });
  const drained = event(socket, "drain");
  const flushed = socket.flush();
  wire.bufferedAmount = 0;
  await drained;
  await flushed;
  assert.equal((await gateway.calls(wire, 5)).length, 5);
  assert.equal(socket.bufferedAmount, 0);
  socket.close();
});

test("after a lost connection the hook comes first, then messages that waited", async () => {
  const hooks = [];
  const { socket, gateway, wire } = await opened({
    resynchronize: ({ send, unconfirmed, complete }) => {
      hooks.push([unconfirmed.map(text), complete]);
      send(bytes("where was I"));
    },
  });
  for (const word of ["a", "b"]) socket.send(bytes(word));
  await gateway.calls(wire, 3);
  await wire.acknowledges(1);
  await gateway.calls(wire, 4);
  wire.ends(4105, "the canister was reset");
  socket.send(bytes("c"));
  const second = await gateway.dialled(1);
  const resumed = event(socket, "open");
  await second.opens();
  const open = await resumed;
  assert.deepEqual([open.resumed, open.unconfirmed.map(text), open.complete], [true, ["b"], true]);
  assert.deepEqual((await gateway.calls(second, 3)).slice(1), [
    { sequence: 1, content: "where was I" },
    { sequence: 2, content: "c" },
  ]);
  assert.deepEqual(hooks, [[["b"], true]]);
  assert.notEqual(wire.clientKey.client_nonce, second.clientKey.client_nonce);
  assert.equal(wire.clientKey.client_principal.toText(), second.clientKey.client_principal.toText());
  socket.close();
});

test("without a hook the next open names what was sent and not acknowledged", async () => {
  const { socket, gateway, wire } = await opened();
  const named = [];
  socket.onopen = ({ resumed, unconfirmed, complete }) => named.push([resumed, unconfirmed.map(text), complete]);
  socket.send(bytes("a"));
  await gateway.calls(wire, 2);
  wire.ends(4105, "the canister was reset");
  const second = await gateway.dialled(1);
  await second.opens();
  socket.send(bytes("b"));
  await gateway.calls(second, 2);
  second.ends(4105, "the canister was reset");
  const third = await gateway.dialled(2);
  const open = event(socket, "open");
  await third.opens();
  await open;
  assert.deepEqual(named, [[true, ["a"], true], [true, ["b"], true]]);
  socket.close();
});

test("a hook that fails ends the connection, and the next one calls it again", async () => {
  let times = 0;
  const { socket, gateway, wire, codes } = await opened({
    resynchronize: () => {
      times += 1;
      if (times === 1) throw new Error("no");
    },
  });
  wire.ends(1006);
  await (await gateway.dialled(1)).opens();
  const third = await gateway.dialled(2);
  const resumed = event(socket, "open");
  await third.opens();
  await resumed;
  assert.deepEqual([codes(), times], [["connection-lost", "resynchronize-failed"], 2]);
  socket.close();
});

test("the client connects again as the close code says", async () => {
  for (const [code, again] of [[4100, true], [1006, true], [4111, true], [4999, true], [4109, false], [4110, false], [1002, false]]) {
    const { socket, wire, errors } = await opened();
    const gone = event(socket, "disconnect");
    wire.ends(code, "because");
    const { pauseMs } = await gone;
    assert.equal(pauseMs !== null, again, `${code}`);
    assert.equal(errors[0].closeCode, code);
    assert.ok(errors[0].message.includes("because") && errors[0].hint, `${code}`);
    socket.close();
    const { error } = await socket.closed;
    assert.equal(error?.closeCode, again ? undefined : code);
  }
});

test("a refused opening is final, unless it was open before", async () => {
  const { socket, gateway, wire } = await opened();
  wire.ends(1006);
  (await gateway.dialled(1)).ends(4101, "stopped");
  await (await gateway.dialled(2)).opens();
  socket.close();
  const refused = make();
  (await refused.gateway.dialled(0)).ends(4101, "no such canister");
  await assert.rejects(refused.socket.opened, { code: "closed-by-gateway", closeCode: 4101, reason: "no such canister" });
  assert.equal(refused.socket.state, "closed");
});

test("the network's error code in a reason says what to do", async () => {
  const { socket, gateway } = make();
  (await gateway.dialled(0)).ends(4101, "ws_open refused: reject 3 IC0301: Canister a-b not found [1]");
  await assert.rejects(socket.opened, { code: "closed-by-gateway", hint: REJECT_HINTS.IC0301 });
});

test("with reconnect: false the first end is the last", async () => {
  const { socket, wire } = await opened({ reconnect: false });
  wire.ends(4100);
  assert.equal((await socket.closed).code, 4100);
  assert.throws(() => socket.send(bytes("a")), { code: "socket-closed" });
});

test("when one of several gateways fails, the next one is tried", async () => {
  const gateway = fakeGateway();
  const { socket, wire } = await opened({ gateway: ["ws://one.example", "https://two.example"] }, gateway);
  wire.ends(4100);
  const second = await gateway.dialled(1);
  assert.deepEqual([wire.url, second.url], ["ws://one.example/", "wss://two.example/"]);
  second.ends(1006);
  assert.equal((await gateway.dialled(2)).url, "ws://one.example/");
  socket.close();
});

const wrong = {
  "sequence-gap": (wire) => wire.say(bytes("x"), { sequence_num: 3n }),
  "not-for-this-client": (wire) => wire.say(bytes("x"), { client_key: { ...wire.clientKey, client_nonce: 1n } }),
  "bad-frame": (wire) => wire.deliver(bytes("x")),
  "bad-service-message": (wire) => wire.say(bytes("DIDL"), { isService: true }),
};
for (const [code, spoil] of Object.entries(wrong)) {
  test(`${code}: the connection is given up with 4000, and made again`, async () => {
    const { socket, gateway, wire, codes } = await opened();
    const gone = event(socket, "disconnect");
    await spoil(wire);
    assert.equal((await gone).code, 4000);
    assert.deepEqual([codes(), wire.closedWith.code, wire.closedWith.reason], [[code], 4000, code]);
    await gateway.dialled(1);
    socket.close();
  });
}

test("an acknowledgement of a message that was not sent is refused", async () => {
  const { socket, wire, codes } = await opened();
  const gone = event(socket, "disconnect");
  await wire.acknowledges(1);
  await gone;
  assert.deepEqual(codes(), ["bad-service-message"]);
  socket.close();
});

test("a message of another type is an error event, and the connection continues", async () => {
  const codec = { encode: bytes, decode: (data) => (data.length > 1 ? assert.fail("too long") : text(data)) };
  const { socket, wire, errors } = await opened({ codec });
  const received = event(socket, "message");
  await wire.say(bytes("long"));
  await wire.say(bytes("s"));
  assert.equal((await received).data, "s");
  assert.deepEqual([errors[0].code, text(errors[0].data), socket.state], ["undecodable-message", "long", "open"]);
  socket.close();
});

test("the canister's reasons for closing", async () => {
  for (const [reason, again] of [["ClosedByApplication", false], ["WrongSequenceNumber", true]]) {
    const { socket, wire } = await opened();
    const gone = event(socket, "disconnect");
    await wire.service({ CloseMessage: { reason: { [reason]: null } } });
    const { code, pauseMs, error } = await gone;
    assert.deepEqual([code, pauseMs !== null, error.reason, wire.closedWith.code], [4001, again, reason, 4001]);
    socket.close();
  }
});

test("replies go to the requests that they answer, other messages to the application", async () => {
  const { socket, gateway, wire } = await opened();
  const starts = (letter) => ({ matches: (data) => text(data).startsWith(letter) });
  const requests = [socket.request(bytes("ask b"), starts("b")), socket.request(bytes("ask a"), starts("a"))];
  const received = event(socket, "message");
  await gateway.calls(wire, 3);
  for (const word of ["a1", "c1", "b1"]) await wire.say(bytes(word));
  assert.deepEqual((await Promise.all(requests)).map(text), ["b1", "a1"]);
  assert.equal(text((await received).data), "c1");
  socket.close();
});

test("a request ends at its timeout, when its caller aborts it, and when the connection is lost", async () => {
  const { socket, gateway, wire } = await opened();
  await assert.rejects(socket.request(bytes("a"), { timeoutMs: 1 }), { code: "request-timeout" });
  const stop = new AbortController();
  const aborted = socket.request(bytes("b"), { signal: stop.signal });
  stop.abort();
  await assert.rejects(aborted, { name: "AbortError" });
  const lost = socket.request(bytes("c"));
  await gateway.until(() => wire.calls.some(({ content }) => content === "c"));
  wire.ends(1006);
  await assert.rejects(lost, { code: "connection-lost" });
  const waits = socket.request(bytes("d"));
  const second = await gateway.dialled(1);
  await second.opens();
  await gateway.calls(second, 2);
  await second.say(bytes("answer"));
  assert.equal(text(await waits), "answer");
  socket.close();
});

test("a session that is not opened in time is given up", async () => {
  const { socket, gateway, codes } = make({ openTimeoutMs: 5 });
  await gateway.dialled(1);
  assert.equal(codes()[0], "open-timeout");
  socket.close();
  await assert.rejects(socket.opened);
});

test("messages that are not verified yet are bounded", async () => {
  const { socket, wire, codes } = await opened({ maxIncomingBytes: 2_000 });
  const gone = event(socket, "disconnect");
  for (let i = 0; i < 3; i++) wire.deliver(new Uint8Array(1_000));
  await gone;
  assert.deepEqual(codes(), ["too-many-incoming"]);
  socket.close();
});

test("closing while it waits to connect again", async () => {
  const { socket, wire } = await opened({ pauses: { firstMs: 1_000_000, mostMs: 1_000_000 } });
  wire.ends(1006);
  await event(socket, "disconnect");
  socket.send(bytes("late"));
  socket.close(4321, "enough");
  const { code, reason, unsent } = await socket.closed;
  assert.deepEqual([code, reason, unsent.map(text)], [4321, "enough", ["late"]]);
  await assert.rejects(socket.flush(), { code: "socket-closed" });
});

test("the event close names what was sent and not acknowledged", async () => {
  const { socket, gateway, wire } = await opened();
  for (const word of ["a", "b", "c"]) socket.send(bytes(word));
  await gateway.calls(wire, 4);
  await wire.acknowledges(1);
  await gateway.calls(wire, 5);
  socket.close();
  const { unsent, unconfirmed, complete } = await socket.closed;
  assert.deepEqual([unsent, unconfirmed.map(text), complete], [[], ["b", "c"], true]);
});

test("it names them too if there is no further session", async () => {
  const { socket, gateway, wire } = await opened({ reconnect: false });
  socket.send(bytes("a"));
  await gateway.calls(wire, 2);
  wire.ends(1006);
  const { unconfirmed, complete } = await socket.closed;
  assert.deepEqual([unconfirmed.map(text), complete], [["a"], true]);
});

test("it names them too if the socket is closed while it waits to connect again", async () => {
  const { socket, gateway, wire } = await opened({ pauses: { firstMs: 1_000_000, mostMs: 1_000_000 } });
  socket.send(bytes("a"));
  await gateway.calls(wire, 2);
  wire.ends(1006);
  await event(socket, "disconnect");
  socket.send(bytes("late"));
  socket.close();
  const { unsent, unconfirmed } = await socket.closed;
  assert.deepEqual([unsent.map(text), unconfirmed.map(text)], [["late"], ["a"]]);
});

test("it names them too if the gateway does not answer the close frame", async (context) => {
  // before the socket has a timer: a real one is not cleared any more, and keeps the process for minutes
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { socket, gateway, wire } = await opened();
  socket.send(bytes("a"));
  await gateway.calls(wire, 2);
  wire.close = () => {};
  socket.close();
  context.mock.timers.tick(CLOSING_MS);
  assert.deepEqual((await socket.closed).unconfirmed.map(text), ["a"]);
});

test("the function identity is called before each connection", async () => {
  const given = [Ed25519KeyIdentity.generate(), Ed25519KeyIdentity.generate()];
  const left = [...given];
  const { socket, gateway, wire } = await opened({ identity: async () => left.shift() });
  wire.ends(1006);
  const second = await gateway.dialled(1);
  assert.deepEqual(
    [wire, second].map(({ clientKey }) => clientKey.client_principal.toText()),
    given.map((identity) => identity.getPrincipal().toText()),
  );
  socket.close();
});

test("invalid options are refused at once, with a reason", () => {
  const refused = (options, code, part) =>
    assert.throws(() => make(options), (error) => error.code === code && error.message.includes(part) && error.hint !== "");
  refused({ gateway: "gateway.example" }, "invalid-option", "gateway");
  refused({ gateway: "ftp://gateway.example" }, "invalid-option", "ws://");
  refused({ gateway: [] }, "invalid-option", "gateway");
  refused({ canister: "nobody" }, "invalid-option", "nobody");
  refused({ canister: undefined }, "invalid-option", "canister is missing");
  refused({ network: "wss://icp-api.io" }, "invalid-option", "network");
  refused({ idlFactory: ({ IDL }) => IDL.Service({}) }, "invalid-option", "ws_message");
});

test("numbers that are none, or out of range, are refused at once", async () => {
  const refused = (options, message) => assert.throws(() => make(options), { code: "invalid-option", message: `an option is missing or wrong: ${message}` });
  for (const name of ["openTimeoutMs", "silenceMs", "maxBufferedBytes", "maxBufferedMessages", "maxMessageBytes", "maxIncomingBytes"]) {
    for (const value of [0, -1, NaN, "5"]) refused({ [name]: value }, `${name} cannot be ${value}`);
  }
  refused({ pace: { burst: 0.5 } }, "pace.burst cannot be 0.5");
  for (const perSecond of [0, Infinity]) refused({ pace: { perSecond } }, `pace.perSecond cannot be ${perSecond}`);
  for (const name of ["firstMs", "laterMs", "mostMs", "stableMs"]) refused({ pauses: { [name]: -1 } }, `pauses.${name} cannot be -1`);
  const { socket } = make({ silenceMs: Infinity, maxBufferedBytes: Infinity, pace: { burst: undefined }, pauses: { firstMs: 0 } });
  await assert.rejects(socket.request(bytes("a"), { timeoutMs: NaN }), { code: "invalid-option" });
  assert.equal(socket.bufferedAmount, 0, "the request was not sent");
  socket.close();
});

test("times may be without end", async () => {
  const { socket, gateway, wire } = await opened({ openTimeoutMs: Infinity, silenceMs: Infinity });
  const reply = socket.request(bytes("a"), { timeoutMs: Infinity });
  await gateway.calls(wire, 2);
  await wire.say(bytes("b"));
  assert.equal(text(await reply), "b");
  socket.close();
});

test("unknown options are refused at once, and the nearest ones are named", async () => {
  const refused = (options, message) => assert.throws(() => make(options), { name: "TypeError", message });
  refused({ reconect: false }, "unknown option reconect; the nearest one is reconnect");
  refused({ pace: { persecond: 5 } }, "unknown option pace.persecond; the nearest one is pace.perSecond");
  refused({ pauses: { maxMs: 5 } }, "unknown option pauses.maxMs; the nearest one is pauses.mostMs");
  const { socket } = make({ pace: undefined, pauses: undefined });
  await assert.rejects(socket.request(bytes("a"), { timeout: 5 }), {
    name: "TypeError",
    message: "unknown option timeout; the nearest one is timeoutMs",
  });
  assert.equal(socket.bufferedAmount, 0, "the request was not sent");
  socket.close();
});

test("invalid messages are refused at once", async () => {
  const { socket } = make({ maxMessageBytes: 10 });
  assert.throws(() => socket.send("text"), { code: "unencodable-message" });
  assert.throws(() => socket.send(new Uint8Array(11)), { code: "message-too-big" });
  assert.throws(() => socket.close(1001), { code: "invalid-option" });
  socket.close();
});

test("a message that the application's codec makes no bytes of is refused at once", async () => {
  const { socket } = make({ codec: { encode: (value) => (value instanceof Uint8Array ? value : JSON.stringify(value)), decode: text } });
  assert.throws(() => socket.send({ a: 1 }), { code: "unencodable-message", message: /codec\.encode\(\) returned no Uint8Array/ });
  assert.equal(socket.bufferedAmount, 0);
  assert.equal(socket.send(Buffer.from("a")), true);
  socket.close();
});

test("an option trace that fails does not concern the connection", async (context) => {
  const written = context.mock.method(console, "error", () => {});
  const broken = new Error("no");
  const { socket, gateway, wire, errors } = await opened({
    trace: () => {
      throw broken;
    },
  });
  for (const word of ["a", "b"]) socket.send(bytes(word));
  const received = event(socket, "message");
  await gateway.calls(wire, 3);
  await wire.say(bytes("c"));
  assert.equal(text((await received).data), "c");
  assert.deepEqual(wire.calls.slice(1).map(({ content }) => content), ["a", "b"]);
  assert.deepEqual([errors, socket.state], [[], "open"]);
  assert.equal(written.mock.calls[0].arguments[1], broken);
  socket.close();
});

test("a signer that fails is named as such, and the message leaves in the next session", async () => {
  const signer = Ed25519KeyIdentity.generate();
  let fails = false;
  const identity = {
    getPrincipal: () => (fails ? assert.fail("no") : signer.getPrincipal()),
    transformRequest: (request) => signer.transformRequest(request),
  };
  const { socket, gateway, wire, codes } = await opened({ identity });
  fails = true;
  const gone = event(socket, "disconnect");
  socket.send(bytes("a"));
  await gone;
  fails = false;
  const second = await gateway.dialled(1);
  await second.opens();
  assert.deepEqual((await gateway.calls(second, 2)).slice(1), [{ sequence: 1, content: "a" }]);
  assert.deepEqual([codes(), wire.closedWith.code], [["signing-failed"], 4000]);
  socket.close();
});

test("a promise of an identity is as good as an identity, and what is none is named", async () => {
  const identity = Ed25519KeyIdentity.generate();
  const { socket } = await opened({ identity: Promise.resolve(identity) });
  assert.equal(socket.principal.toText(), identity.getPrincipal().toText());
  socket.close();
  for (const none of [Promise.resolve(null), () => {}, {}]) {
    const wrong = make({ identity: none });
    await assert.rejects(wrong.socket.opened, { code: "identity-unusable", hint: /promise of one/ });
  }
});

test("a WebSocket that cannot be made is a gateway that cannot be reached", async () => {
  const refused = new Error("refused by the page's policy");
  class Refused {
    constructor() {
      throw refused;
    }
  }
  const { socket } = make({ WebSocket: Refused });
  const { error } = await event(socket, "error");
  assert.deepEqual([error.code, error.cause], ["gateway-unreachable", refused]);
  assert.match(error.message, /ws:\/\/gateway\.example\/: refused by the page's policy/);
  socket.close();
});

test("a handler of the end of a connection finds the state that follows", async () => {
  for (const [code, state] of [[4100, "waiting"], [4109, "closed"]]) {
    const { socket, wire } = await opened();
    const seen = [];
    for (const type of ["statechange", "error", "disconnect", "close"]) socket.addEventListener(type, () => seen.push([type, socket.state]));
    const gone = event(socket, "disconnect");
    wire.ends(code, "because");
    await gone;
    assert.deepEqual(seen.slice(0, 3), ["statechange", "error", "disconnect"].map((type) => [type, state]));
    socket.close();
    await socket.closed;
    assert.deepEqual(seen.at(-1), ["close", "closed"]);
  }
});

test("a handler of an error may close the socket", async () => {
  const { socket, gateway, wire } = await opened();
  socket.onerror = () => socket.close(3333, "enough");
  const gone = event(socket, "disconnect");
  wire.ends(4100, "draining");
  const { code, reason, error } = await socket.closed;
  assert.deepEqual([code, reason, error], [3333, "enough", null]);
  assert.deepEqual([(await gone).code, gateway.sockets.length], [4100, 1]);
});

test("a gateway that does not answer the close frame is cut off where the WebSocket class can", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { socket, wire } = await opened();
  wire.close = (code) => (wire.closedWith = { code });
  wire.terminate = () => {
    wire.isCut = true;
    wire.ends(1006);
  };
  socket.close(3333, "enough");
  assert.deepEqual(wire.closedWith, { code: 3333 });
  context.mock.timers.tick(5_000);
  const { code } = await socket.closed;
  assert.deepEqual([wire.isCut, code], [true, 3333]);
});

test("a handler may close the socket", async () => {
  const { socket, gateway } = make();
  socket.onopen = () => socket.close();
  const wire = await gateway.dialled(0);
  await wire.opens();
  assert.equal((await socket.closed).code, 1000);
});

test("an error without a listener is written to the console", async (context) => {
  const warned = context.mock.method(console, "warn", () => {});
  for (const [listen, times] of [
    [(socket) => (socket.onerror = null), 1],
    [(socket) => (socket.onerror = () => {}), 0],
    [(socket) => ((socket.onerror = null), socket.addEventListener("error", () => {})), 0],
  ]) {
    const { socket, wire } = await opened();
    listen(socket);
    const gone = event(socket, "disconnect");
    wire.ends(4109, "replaced");
    await gone;
    assert.equal(warned.mock.callCount(), times);
    if (times) assert.match(warned.mock.calls[0].arguments[0], /replaced.*Do not reconnect/);
    warned.mock.resetCalls();
  }
});

test("an error event without a close event ends a connection that was not established", async () => {
  const gateway = fakeGateway({ handshake: false });
  const { socket, errors } = make({}, gateway);
  await gateway.until(() => gateway.sockets.length === 1);
  gateway.sockets[0].onerror({ message: "refused" });
  await gateway.until(() => gateway.sockets.length === 2);
  assert.deepEqual([errors[0].code, errors[0].closeCode], ["gateway-unreachable", 1006]);
  assert.match(errors[0].message, /refused/);
  // with a close event as well, there is one end
  gateway.sockets[1].onerror({ message: "refused" });
  gateway.sockets[1].ends(1006);
  await gateway.until(() => gateway.sockets.length === 3);
  assert.equal(errors.length, 2);
  socket.close();
});

test("closing before the connection is established", async () => {
  const gateway = fakeGateway({ handshake: false });
  const { socket } = make({}, gateway);
  await gateway.until(() => gateway.sockets.length === 1);
  gateway.sockets[0].close = () => gateway.sockets[0].ends(1006);
  socket.close();
  assert.deepEqual([(await socket.closed).code, socket.state], [1000, "closed"]);
});
