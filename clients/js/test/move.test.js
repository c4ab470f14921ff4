import assert from "node:assert/strict";
import { test } from "node:test";
import { CanisterSocket } from "../src/index.js";
import { MOVE_TABLE, Move } from "../src/move.js";
import { canister, event, fakeGateway, rootKey } from "./fake.js";

const bytes = (text) => new TextEncoder().encode(text);
const text = (data) => new TextDecoder().decode(data);
const pauses = { firstMs: 2, laterMs: 2, mostMs: 4 };
const gateways = ["ws://one.example/", "ws://two.example/"];

/** A socket with an open session at the first of two gateways; `events` has the events that the application gets: a message's text, or the type. */
const opened = async (options = {}) => {
  const gateway = fakeGateway();
  const socket = new CanisterSocket({ gateway: gateways, canister, rootKey, WebSocket: gateway.WebSocket, pauses, ...options });
  const events = [];
  for (const type of ["message", "open", "error", "disconnect", "close"]) {
    socket.addEventListener(type, (arrived) => events.push(type === "message" ? text(arrived.data) : type));
  }
  const states = [];
  socket.onstatechange = ({ state }) => states.push(state);
  const old = await gateway.dialled(0);
  await old.opens();
  await socket.opened;
  states.length = events.length = 0;
  await new Promise(setImmediate);
  return { socket, gateway, old, events, states };
};

/** The connection to the next gateway, when the client has left the old one. */
const leaving = async ({ gateway, old }, number = 1) => {
  await gateway.until(() => old.calls.some(({ method }) => method === "leaving"));
  return gateway.sockets[number];
};

test("the table leads from each state, but the last, to another one or back", () => {
  const states = Object.keys(MOVE_TABLE);
  for (const [state, row] of Object.entries(MOVE_TABLE)) {
    assert.equal(Object.keys(row).length === 0, state === "moved");
    for (const [next] of Object.values(row)) assert.ok(states.includes(next));
  }
  const move = new Move();
  assert.deepEqual(["relayed", "handshake", "handshake", "relayed", "opened", "over", "failed"].map((step) => move.step(step)), [
    null,
    "leave",
    null,
    "sendOpen",
    "overlap",
    "promote",
    null,
  ]);
});

test("a client says that it can move, unless it would not reconnect", async () => {
  const { socket, old } = await opened();
  assert.deepEqual(old.calls, [{ method: "ws_open", moves: true }]);
  socket.close();
  const other = await opened({ reconnect: false });
  assert.deepEqual(other.old.calls, [{ method: "ws_open" }]);
  other.old.asksToMove();
  other.socket.close();
  assert.equal((await other.socket.closed).code, 1000);
  assert.equal(other.gateway.sockets.length, 1);
});

test("the next session opens before this one ends, and no message is lost or out of order", async () => {
  const unconfirmed = [];
  const world = await opened({ resynchronize: (session) => void unconfirmed.push(session.unconfirmed.map(text)) });
  const { socket, gateway, old, events, states } = world;
  socket.send(bytes("before"));
  await gateway.calls(old, 2);
  old.asksToMove();
  const next = await leaving(world);
  assert.equal(next.url, gateways[1]);
  socket.send(bytes("meanwhile"));
  assert.equal(next.calls.length, 0, "ws_open could overtake calls in flight");
  await old.say(bytes("still here"));
  old.saysRelayed();
  await gateway.dialled(1);
  await next.opens();
  await next.say(bytes("new"));
  await old.say(bytes("late"));
  await gateway.calls(next, 2);
  if (events.at(-1) !== "new") await event(socket, "message");
  assert.deepEqual(events, ["still here", "late", "open", "new"]);
  assert.deepEqual(states, ["resynchronizing", "open"]);
  assert.deepEqual(unconfirmed, [["before"]]);
  assert.deepEqual(next.calls, [{ method: "ws_open", moves: true }, { sequence: 1, content: "meanwhile" }]);
  assert.deepEqual(old.calls.map(({ content, method }) => content ?? method), ["ws_open", "before", "leaving"]);
  assert.equal(old.closedWith.code, 1000);
  socket.close();
  assert.deepEqual(gateway.sockets.length, 2);
});

test("until the other gateway answers, messages are sent as before", async () => {
  const { socket, gateway, old } = await opened();
  gateway.silence();
  old.asksToMove();
  socket.send(bytes("here"));
  await gateway.calls(old, 2);
  await gateway.until(() => gateway.sockets.length === 2);
  await new Promise(setImmediate);
  socket.send(bytes("and here"));
  assert.deepEqual((await gateway.calls(old, 3)).slice(1), [
    { sequence: 1, content: "here" },
    { sequence: 2, content: "and here" },
  ]);
  gateway.sockets[1].begin();
  await gateway.until(() => old.calls.length === 4);
  socket.close();
});

test("a reply may come in the next session", async () => {
  const world = await opened({ codec: { encode: bytes, decode: text } });
  const { socket, gateway, old } = world;
  const reply = socket.request("question", { matches: (message) => message === "answer" });
  await gateway.calls(old, 2);
  old.asksToMove();
  await leaving(world);
  old.saysRelayed();
  const next = await gateway.dialled(1);
  await next.opens();
  await next.say(bytes("answer"));
  assert.equal(await reply, "answer");
  socket.close();
});

test("another connection is tried where the first one fails, before and after this session is left", async () => {
  const world = await opened();
  const { socket, gateway, old } = world;
  old.asksToMove();
  const first = await leaving(world);
  first.ends(1006);
  old.saysRelayed();
  const second = await gateway.dialled(2);
  assert.equal(second.url, gateways[0]);
  second.ends(4101, "ws_open refused");
  const third = await gateway.dialled(3);
  await third.opens();
  await event(socket, "open");
  assert.equal(old.calls.filter(({ method }) => method === "leaving").length, 1);
  assert.equal(socket.state, "open");
  socket.close();
});

test("a client that has not moved in time reconnects as usual", async () => {
  const world = await opened();
  const { socket, gateway, old, events } = world;
  old.asksToMove();
  const next = await leaving(world);
  old.ends(4100, "the gateway is shutting down");
  const again = await gateway.dialled(2);
  await again.opens();
  await event(socket, "open");
  assert.equal(next.closedWith.code, 1000);
  assert.deepEqual(events, ["error", "disconnect", "open"]);
  socket.close();
});

test("the old connection may end as soon as the new session is open", async () => {
  const world = await opened();
  const { socket, gateway, old, events } = world;
  old.asksToMove();
  await leaving(world);
  old.saysRelayed();
  const next = await gateway.dialled(1);
  await next.opens();
  const open = event(socket, "open");
  setTimeout(() => old.ends(4100), 20);
  await open;
  assert.deepEqual(events, ["open"]);
  socket.close();
});

test("closing while it moves ends both connections", async () => {
  const world = await opened();
  const { socket, old } = world;
  old.asksToMove();
  const next = await leaving(world);
  socket.close();
  await socket.closed;
  assert.equal(old.closedWith.code, 1000);
  assert.equal(next.closedWith.code, 1000);
});

test("unknown messages of a gateway are ignored, and so is `relayed` without a move", async () => {
  const { socket, gateway, old, events } = await opened();
  old.deliverOwn({ weather: "fine" });
  old.saysRelayed();
  await old.say(bytes("here"));
  await event(socket, "message");
  assert.deepEqual(events, ["here"]);
  assert.equal(gateway.sockets.length, 1);
  socket.close();
});
