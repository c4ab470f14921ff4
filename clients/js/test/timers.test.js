import assert from "node:assert/strict";
import { test } from "node:test";
import { Timers, later } from "../src/timers.js";

test("a timer may be of any length", (context) => {
  const made = context.mock.method(globalThis, "setTimeout", () => {});
  for (const ms of [5, 2 ** 31, Infinity]) later(ms, () => {});
  assert.deepEqual(made.mock.calls.map(({ arguments: [, ms] }) => ms), [5, 2 ** 31 - 1, 2 ** 31 - 1]);
});

test("a timer takes the place of that of the same name, and is cancelled by it", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const timers = new Timers();
  const called = [];
  for (const [name, ms] of [["a", 1], ["a", 3], ["b", 2], ["c", 2], ["d", 2]]) timers.set(name, ms, () => called.push(name));
  timers.cancel("c", "d", "nothing");
  context.mock.timers.tick(2);
  assert.deepEqual(called, ["b"]);
  context.mock.timers.tick(1);
  assert.deepEqual(called, ["b", "a"]);
  timers.set("e", 1, () => called.push("e"));
  timers.cancelAll();
  context.mock.timers.tick(1);
  assert.deepEqual(called, ["b", "a"]);
});
