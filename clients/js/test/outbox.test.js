import assert from "node:assert/strict";
import { test } from "node:test";
import { APPLICATION, KEEP_ALIVE, Outbox, RESYNCHRONIZATION } from "../src/outbox.js";

const item = (level, length, more = {}) => ({ level, content: new Uint8Array(length), value: length, ...more });
const bounds = { maxBytes: 100, maxMessages: 4 };

test("items are taken by level, and in order within one", () => {
  const outbox = new Outbox(bounds);
  for (const [level, length] of [[APPLICATION, 1], [APPLICATION, 2], [RESYNCHRONIZATION, 3], [KEEP_ALIVE, 4]]) outbox.put(item(level, length));
  assert.equal(outbox.level, KEEP_ALIVE);
  assert.deepEqual([2, 2, 2, 2, 2].map((level) => outbox.take(level)?.value), [4, 3, 1, 2, undefined]);
  assert.deepEqual([outbox.bytes, outbox.length, outbox.level], [0, 0, 3]);
});

test("a level that may not be sent stays", () => {
  const outbox = new Outbox(bounds);
  outbox.put(item(APPLICATION, 1));
  assert.equal(outbox.take(RESYNCHRONIZATION), undefined);
  assert.equal(outbox.take(-1), undefined);
  assert.equal(outbox.length, 1);
});

test("room is bounded in bytes and in messages, and there is always room for one", () => {
  const outbox = new Outbox(bounds);
  assert.ok(outbox.hasRoom(1_000));
  outbox.put(item(APPLICATION, 60));
  assert.ok(outbox.hasRoom(40));
  assert.ok(!outbox.hasRoom(41));
  assert.ok(outbox.isHigh);
  const many = new Outbox(bounds);
  for (let i = 0; i < 4; i++) {
    assert.ok(many.hasRoom(0));
    assert.equal(many.isHigh, i > 2);
    many.put(item(APPLICATION, 0));
  }
  assert.ok(!many.hasRoom(0));
});

test("an item that was taken and not sent is put back in front", () => {
  const outbox = new Outbox(bounds);
  outbox.put(item(APPLICATION, 1));
  outbox.put(item(APPLICATION, 2));
  const taken = outbox.take(APPLICATION);
  outbox.putBack(taken);
  assert.deepEqual([outbox.bytes, outbox.length], [3, 2]);
  assert.equal(outbox.take(APPLICATION).value, 1);
});

test("the hook's items come before the application's when these adopt them", () => {
  const outbox = new Outbox(bounds);
  for (const [level, length] of [[APPLICATION, 1], [APPLICATION, 2], [RESYNCHRONIZATION, 3], [RESYNCHRONIZATION, 4]]) outbox.put(item(level, length));
  outbox.adopt();
  outbox.clear(RESYNCHRONIZATION);
  assert.deepEqual([outbox.level, outbox.bytes, outbox.length], [APPLICATION, 10, 4]);
  const taken = [1, 2, 3, 4].map(() => outbox.take(APPLICATION));
  assert.deepEqual(taken.map(({ value, level }) => [value, level]), [3, 4, 1, 2].map((value) => [value, APPLICATION]));
});

test("items are removed and dropped", () => {
  const outbox = new Outbox(bounds);
  const dropped = [];
  const withdrawn = item(APPLICATION, 5);
  outbox.put(withdrawn);
  outbox.put(item(RESYNCHRONIZATION, 7, { onDrop: () => dropped.push(7) }));
  outbox.remove(withdrawn);
  outbox.remove(withdrawn);
  outbox.clear(RESYNCHRONIZATION);
  assert.deepEqual([outbox.bytes, outbox.length, dropped], [0, 0, [7]]);
});
