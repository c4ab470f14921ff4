import assert from "node:assert/strict";
import { test } from "node:test";
import { Incoming, Outgoing } from "../src/sequence.js";

const code = (wanted) => (error) => error.code === wanted;

test("the canister's numbers begin with 1 and have no gap and no repetition", () => {
  const incoming = new Incoming();
  assert.throws(() => incoming.take(0n), code("sequence-gap"));
  assert.throws(() => incoming.take(2n), code("sequence-gap"));
  incoming.take(1n);
  incoming.take(2n);
  assert.throws(() => incoming.take(2n), code("sequence-gap"));
  assert.throws(() => incoming.take(4n), /number 4 after 2/);
});

test("values are kept until they are acknowledged", () => {
  const outgoing = new Outgoing(10);
  for (const value of ["a", "b", "c"]) outgoing.keep(outgoing.take(), value);
  outgoing.take(); // a keep-alive has a number, and no value
  outgoing.acknowledge(2n);
  assert.deepEqual(outgoing.unconfirmed, ["c"]);
  outgoing.acknowledge(4n);
  assert.deepEqual([outgoing.unconfirmed, outgoing.forgotten, outgoing.acknowledged], [[], false, 4n]);
});

test("the oldest values are dropped, which `forgotten` reports", () => {
  const outgoing = new Outgoing(2);
  for (const value of ["a", "b", "c"]) outgoing.keep(outgoing.take(), value);
  assert.deepEqual([outgoing.unconfirmed, outgoing.forgotten], [["b", "c"], true]);
});

test("an acknowledgement of a message that was not sent is refused", () => {
  const outgoing = new Outgoing(2);
  outgoing.keep(outgoing.take(), "a");
  assert.throws(() => outgoing.acknowledge(2n), code("bad-service-message"));
});
