import assert from "node:assert/strict";
import { test } from "node:test";
import { Ed25519KeyIdentity } from "@icp-sdk/core/identity";
import { CanisterSocket } from "../src/index.js";
import { canister, event, fakeGateway, rootKey } from "./fake.js";

const bytes = (text) => new TextEncoder().encode(text);
const text = (data) => new TextDecoder().decode(data);
const contents = (wire) => wire.calls.map(({ content }) => content).filter(Boolean);
const pauses = { firstMs: 2, laterMs: 2, mostMs: 4 };

/** A socket with an open session; `next()` is the next session's connection, when it is open there but not yet for the application. */
const opened = async (options) => {
  const gateway = fakeGateway();
  const socket = new CanisterSocket({ gateway: "ws://gateway.example", canister, rootKey, WebSocket: gateway.WebSocket, pauses, ...options });
  const errors = [];
  socket.onerror = ({ error }) => errors.push(error);
  let number = 0;
  const next = async () => {
    const wire = await gateway.dialled(number++);
    await wire.opens();
    return wire;
  };
  const wire = await next();
  await socket.opened;
  return { socket, gateway, wire, next, errors };
};

/** A hook that sends unconfirmed messages again; `got` has what each call of it got. */
const resending = (got) => ({ send, unconfirmed }) => {
  got.push(unconfirmed.map(text));
  for (const message of unconfirmed) send(message);
};

test("what the hook has sent is unconfirmed until the canister acknowledges it", async () => {
  const got = [];
  const { socket, gateway, wire, next } = await opened({ resynchronize: resending(got) });
  for (const word of ["pay 1", "pay 2"]) socket.send(bytes(word));
  await gateway.calls(wire, 3);
  wire.ends(1006);
  const second = await next();
  await gateway.calls(second, 3);
  second.ends(1006);
  const third = await next();
  await gateway.calls(third, 3);
  assert.deepEqual(contents(third), ["pay 1", "pay 2"]);
  await third.acknowledges(1);
  await gateway.calls(third, 4);
  third.ends(1006);
  await gateway.calls(await next(), 2);
  assert.deepEqual(got, [["pay 1", "pay 2"], ["pay 1", "pay 2"], ["pay 2"]]);
  socket.close();
});

test("what the hook has sent and has not left waits for the next session, in order", async () => {
  const got = [];
  const { socket, gateway, wire, next } = await opened({ pace: { burst: 3, perSecond: 1e-6 }, resynchronize: resending(got) });
  for (const word of ["pay 1", "pay 2"]) socket.send(bytes(word));
  await gateway.calls(wire, 3);
  wire.ends(1006);
  socket.send(bytes("pay 3"));
  const resumed = event(socket, "open");
  const second = await next();
  await gateway.calls(second, 2);
  await resumed;
  second.ends(1006);
  const again = event(socket, "open");
  const third = await next();
  await again;
  assert.deepEqual([got, contents(third)], [[["pay 1", "pay 2"], ["pay 1"]], []]);
  socket.close();
  assert.deepEqual((await socket.closed).unsent.map(text), ["pay 1", "pay 2", "pay 3"]);
});

test("a socket that is closed while the hook runs names what it has sent too", async () => {
  const got = [];
  const { socket, gateway, wire, next } = await opened({
    resynchronize: (session) => {
      resending(got)(session);
      return new Promise(() => {});
    },
  });
  socket.send(bytes("pay"));
  await gateway.calls(wire, 2);
  wire.ends(1006);
  await gateway.calls(await next(), 2);
  socket.close();
  const { unsent, unconfirmed } = await socket.closed;
  assert.deepEqual([unsent, unconfirmed.map(text)], [[], ["pay", "pay"]]);
});

test("what a hook has got is not named again when the socket is closed", async () => {
  const { socket, gateway, wire, next } = await opened({ resynchronize: () => {} });
  socket.send(bytes("pay"));
  await gateway.calls(wire, 2);
  wire.ends(1006);
  const resumed = event(socket, "open");
  await next();
  await resumed;
  socket.close();
  assert.deepEqual((await socket.closed).unconfirmed, []);
});

test("a message of the hook that is being signed when its connection ends is not lost", async () => {
  const signer = Ed25519KeyIdentity.generate();
  let release;
  let slow = false;
  const signing = new EventTarget();
  const identity = {
    getPrincipal: () => signer.getPrincipal(),
    transformRequest: async (request) => {
      if (slow && request.body.method_name === "ws_message") {
        signing.dispatchEvent(new Event("begun"));
        await new Promise((resolve) => (release = resolve));
      }
      return signer.transformRequest(request);
    },
  };
  const { socket, gateway, wire, next } = await opened({ identity, resynchronize: resending([]) });
  socket.send(bytes("pay"));
  await gateway.calls(wire, 2);
  slow = true;
  wire.ends(1006);
  const [begun, resumed] = [event(signing, "begun"), event(socket, "open")];
  const second = await next();
  await Promise.all([begun, resumed]);
  const gone = event(socket, "disconnect");
  second.ends(1006);
  await gone;
  slow = false;
  release();
  const third = await next();
  await gateway.calls(third, 2);
  assert.deepEqual(contents(third), ["pay"]);
  socket.close();
});

test("a hook that its connection did not outlive gets the same messages again, once", async () => {
  const got = [];
  const { socket, gateway, wire, next } = await opened({
    resynchronize: (session) => {
      resending(got)(session);
      return got.length < 2 ? new Promise(() => {}) : null;
    },
  });
  socket.send(bytes("pay"));
  await gateway.calls(wire, 2);
  wire.ends(1006);
  const second = await next();
  await gateway.calls(second, 2);
  second.ends(1006);
  const third = await next();
  await gateway.calls(third, 2);
  assert.deepEqual([got, contents(third)], [[["pay"], ["pay"]], ["pay"]]);
  socket.close();
});

test("a request of the hook is not unconfirmed: the next hook asks anew", async () => {
  const got = [];
  const { socket, gateway, wire, next } = await opened({
    resynchronize: async ({ request, unconfirmed }) => {
      got.push(unconfirmed);
      await request(bytes("where"));
    },
  });
  for (let wires = wire, i = 0; i < 2; i++) {
    wires.ends(1006);
    const resumed = event(socket, "open");
    wires = await next();
    await gateway.calls(wires, 2);
    await wires.say(bytes("here"));
    await resumed;
  }
  assert.deepEqual(got, [[], []]);
  socket.close();
});

test("a hook whose connection has ended sends nothing into the next session", async () => {
  const sessions = [];
  const { socket, gateway, wire, next } = await opened({
    resynchronize: (session) => {
      sessions.push(session);
      return sessions.length < 2 ? new Promise(() => {}) : null;
    },
  });
  wire.ends(1006);
  (await next()).ends(1006);
  const resumed = event(socket, "open");
  const third = await next();
  await resumed;
  assert.throws(() => sessions[0].send(bytes("old")), { code: "connection-lost" });
  await assert.rejects(sessions[0].request(bytes("old")), { code: "connection-lost" });
  sessions[1].send(bytes("new"));
  await gateway.calls(third, 2);
  assert.deepEqual(contents(third), ["new"]);
  socket.close();
  await socket.closed;
  assert.throws(() => sessions[1].send(bytes("late")), { code: "socket-closed" });
});

test("unconfirmed messages may be sent again when the buffer is full", async () => {
  const { socket, gateway, wire, next, errors } = await opened({ maxBufferedMessages: 2, resynchronize: resending([]) });
  socket.send(bytes("a"));
  await gateway.calls(wire, 2);
  wire.ends(1006);
  for (const word of ["b", "c"]) socket.send(bytes(word));
  const second = await next();
  await gateway.calls(second, 4);
  assert.deepEqual(contents(second), ["a", "b", "c"]);
  assert.deepEqual(errors.map(({ code }) => code), ["connection-lost"]);
  socket.close();
});

test("whatever fails in the hook, the socket connects again and calls it again", async () => {
  for (const [fail, cause] of [
    [({ request }) => request(bytes("where"), { timeoutMs: 1 }), "request-timeout"],
    [({ send }) => send(new Uint8Array(11)), "message-too-big"],
    [({ send }) => send("text"), "unencodable-message"],
  ]) {
    let times = 0;
    const { socket, wire, next, errors } = await opened({
      maxMessageBytes: 10,
      resynchronize: (session) => (++times === 1 ? fail(session) : null),
    });
    wire.ends(1006);
    await next();
    const resumed = event(socket, "open");
    await next();
    await resumed;
    assert.deepEqual(errors.map((error) => [error.code, error.cause?.code]), [["connection-lost", undefined], ["resynchronize-failed", cause]]);
    assert.equal(errors[1].hint, errors[1].cause.hint);
    assert.ok(errors[1].message.includes(errors[1].cause.message));
    socket.close();
  }
});

/** A socket whose second connection is open and calls the hook; `fail` makes the hook fail. */
const inHook = async () => {
  let began;
  const running = new Promise((resolve) => (began = resolve));
  const made = await opened({ resynchronize: (session) => new Promise((_, fail) => began({ session, fail })) });
  made.wire.ends(1006);
  const second = await made.next();
  return { ...made, second, ...(await running) };
};

test("a connection that closes while the hook runs ends with its own code", async () => {
  const { socket, second, fail, errors } = await inHook();
  second.readyState = 2;
  fail(new Error("no"));
  await new Promise(setImmediate);
  second.ends(4109, "replaced");
  assert.equal((await socket.closed).code, 4109);
  assert.deepEqual(errors.map(({ code }) => code), ["connection-lost", "closed-by-gateway"]);
});

test("closing while the hook runs and then fails: the code is the application's", async () => {
  const { socket, second, session, fail } = await inHook();
  const closings = [];
  second.close = (...given) => closings.push(given);
  socket.close(3333, "enough");
  assert.throws(() => session.send(bytes("late")), { code: "socket-closed" });
  fail(new Error("no"));
  await new Promise(setImmediate);
  assert.deepEqual(closings, [[3333, "enough"]]);
  second.ends(3333, "enough");
  const { code, reason, error } = await socket.closed;
  assert.deepEqual([code, reason, error], [3333, "enough", null]);
});
