import assert from "node:assert/strict";
import { test } from "node:test";
import { LAST_SENDABLE_LEVEL, TABLE, next } from "../src/machine.js";

const STEPS = ["connect", "handshake", "opened", "reopened", "resynchronized", "lost", "ended", "retry", "close"];

const walk = (...steps) => steps.reduce(({ state }, step) => next(state, step), { state: "idle", action: null });

test("from idle to open and back", () => {
  assert.deepEqual(walk("connect"), { state: "connecting", action: "dial" });
  assert.deepEqual(walk("connect", "handshake"), { state: "opening", action: "sendOpen" });
  assert.deepEqual(walk("connect", "handshake", "opened"), { state: "open", action: "announce" });
  assert.deepEqual(walk("connect", "handshake", "opened", "lost"), { state: "waiting", action: "pause" });
  assert.deepEqual(walk("connect", "handshake", "opened", "lost", "retry"), { state: "connecting", action: "dial" });
  assert.deepEqual(walk("connect", "handshake", "opened", "lost", "retry", "handshake", "reopened"), { state: "resynchronizing", action: "resynchronize" });
  assert.deepEqual(walk("connect", "close"), { state: "closing", action: "hangUp" });
  assert.deepEqual(walk("connect", "close", "ended"), { state: "closed", action: "finish" });
});

test("each state but closed leads to closed, which is final", () => {
  for (const state of Object.keys(TABLE)) {
    const ends = ["close", "ended"].reduce((at, step) => next(at, step).state, state);
    assert.equal(ends, "closed", state);
  }
  for (const step of STEPS) assert.deepEqual(next("closed", step), { state: "closed", action: null });
});

test("steps that do nothing", () => {
  const ignored = Object.keys(TABLE).map((state) => `${state}: ${STEPS.filter((step) => !TABLE[state][step]).join(" ")}`);
  assert.deepEqual(ignored, [
    "idle: handshake opened reopened resynchronized lost ended retry",
    "connecting: connect opened reopened resynchronized retry",
    "opening: connect handshake resynchronized retry",
    "resynchronizing: connect handshake opened reopened retry",
    "open: connect handshake opened reopened resynchronized retry",
    "waiting: connect handshake opened reopened resynchronized lost ended",
    "closing: connect handshake opened reopened resynchronized retry close",
    "closed: connect handshake opened reopened resynchronized lost ended retry close",
  ]);
});

test("only an open session sends messages of the application", () => {
  const leaves = Object.entries(LAST_SENDABLE_LEVEL).filter(([, level]) => level >= 0);
  assert.deepEqual(leaves, [["resynchronizing", 1], ["open", 2]]);
  assert.deepEqual(Object.keys(LAST_SENDABLE_LEVEL), Object.keys(TABLE));
});
