import assert from "node:assert/strict";
import { test } from "node:test";
import { PAUSES, connectsAgain, failuresAfter, pauseMs } from "../src/backoff.js";

test("the bound doubles up to mostMs, and a pause is at least half of it", () => {
  const bounds = Array.from({ length: 9 }, (_, i) => pauseMs(i + 1, "again", 1));
  assert.deepEqual(bounds, [1, 2, 4, 8, 16, 32, 60, 60, 60].map((seconds) => seconds * 1000));
  for (const failures of [1, 3, 2_000]) assert.equal(pauseMs(failures, "again", 0) * 2, pauseMs(failures, "again", 1));
});

test("later begins with a longer pause", () => {
  assert.deepEqual([pauseMs(1, "later", 1), pauseMs(2, "if_opened", 1)], [PAUSES.laterMs, 2 * PAUSES.laterMs]);
});

test("many clients spread over half of the bound", () => {
  const pauses = Array.from({ length: 100 }, (_, i) => pauseMs(1, "again", i / 100));
  assert.equal(new Set(pauses.map((pause) => Math.floor(pause / 50))).size, 10);
});

test("only a session that was open for long makes the pauses short again", () => {
  assert.equal(failuresAfter(7, null), 8);
  assert.equal(failuresAfter(7, PAUSES.stableMs - 1), 8);
  assert.equal(failuresAfter(7, PAUSES.stableMs), 1);
});

test("after which ends the client connects again", () => {
  const answers = ["never", "again", "later", "if_opened"].map((after) => [connectsAgain(after, false), connectsAgain(after, true)]);
  assert.deepEqual(answers, [[false, false], [true, true], [true, true], [false, true]]);
});
