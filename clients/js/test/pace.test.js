import assert from "node:assert/strict";
import { test } from "node:test";
import { Bucket } from "../src/pace.js";

const leave = (bucket, now, tries) => {
  let left = 0;
  for (; left < tries && bucket.waitMs(now) === 0; left++) bucket.take();
  return left;
};

test("a burst is sent at once, and then perSecond messages a second", () => {
  const bucket = new Bucket({ burst: 5, perSecond: 10 }, 1_000);
  assert.equal(leave(bucket, 1_000, 9), 5);
  assert.equal(bucket.waitMs(1_000), 100);
  assert.equal(leave(bucket, 1_099, 9), 0);
  assert.equal(bucket.waitMs(1_099), 1);
  assert.equal(leave(bucket, 1_100, 9), 1);
  assert.equal(leave(bucket, 9_000, 9), 5);
});

test("a clock that is set back removes no tokens", () => {
  const bucket = new Bucket({ burst: 2, perSecond: 1 }, 10_000);
  assert.equal(leave(bucket, 10_000, 1), 1);
  assert.equal(leave(bucket, 0, 5), 1);
  assert.equal(leave(bucket, 1_000, 5), 1);
});
