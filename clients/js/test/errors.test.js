import assert from "node:assert/strict";
import { test } from "node:test";
import { asClientError, rejectHint } from "../src/errors.js";

test("a thrown value is one line in the message, and whole in the cause", () => {
  const thrown = new Error("Invalid signature\n    at Certificate.verify");
  const error = asClientError(thrown, "certificate-invalid");
  assert.equal(error.message, "a message's certificate is not signed by the network: Invalid signature");
  assert.equal(error.cause, thrown);
  assert.equal(asClientError("no", "certificate-invalid").message, "a message's certificate is not signed by the network: no");
  assert.equal(asClientError(error, "bad-frame"), error);
});

test("fetch has its reason in the cause", () => {
  const thrown = new TypeError("fetch failed", { cause: { code: "ECONNREFUSED" } });
  assert.match(asClientError(thrown, "network-unreachable").message, /: fetch failed \(ECONNREFUSED\)$/);
});

test("only an error code of the network has a hint of its own", () => {
  assert.match(rejectHint("reject 5 IC0536: no method") ?? "", /CDK/);
  assert.equal(rejectHint("stopped"), undefined);
});
