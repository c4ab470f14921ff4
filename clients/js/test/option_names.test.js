import assert from "node:assert/strict";
import { test } from "node:test";
import { checkNames } from "../src/option_names.js";

const known = { gateway: 1, silenceMs: 1, maxBufferedBytes: 1, maxBufferedMessages: 1 };
const refused = (options, message, parent) => assert.throws(() => checkNames(options, known, parent), { name: "TypeError", message });

test("known options are accepted, also without a value", () => {
  checkNames({}, known);
  checkNames({ gateway: "", silenceMs: undefined }, known);
});

test("an unknown option is refused, and the nearest one is named", () => {
  refused({ gatway: "" }, "unknown option gatway; the nearest one is gateway");
  refused({ gateway: "", silencems: 1 }, "unknown option silencems; the nearest one is silenceMs");
  refused({ maxBufferedByte: 1 }, "unknown option maxBufferedByte; the nearest one is maxBufferedBytes");
  refused({ bufferedMessages: 1 }, "unknown option bufferedMessages; the nearest one is maxBufferedMessages");
  refused({ gateways: undefined }, "unknown option gateways; the nearest one is gateway");
});

test("an option inside of another one is named with it", () => {
  refused({ gatewayy: 1 }, "unknown option limits.gatewayy; the nearest one is limits.gateway", "limits");
});

test("names of an object's prototype are no options", () => {
  refused({ toString: 1 }, /^unknown option toString; /);
  refused(JSON.parse('{"__proto__": 1}'), /^unknown option __proto__; /);
});
