import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { CanisterSocket, IDL } from "icws-client";
import { startDevnet, startGateway } from "icws-client/testing";

let devnet, gateway, socket;

before(async () => {
  devnet = await startDevnet({ canisters: { counter: new URL("counter.py", import.meta.url) } });
  gateway = await startGateway(devnet);
});
after(async () => {
  await gateway?.stop();
  await devnet?.stop();
});
afterEach(async () => {
  socket.close();
  await devnet.restore();
});

const connect = () => {
  socket = new CanisterSocket({ ...gateway.places("counter"), messageType: IDL.Record({ text: IDL.Text }) });
  socket.onerror = () => {}; // expected here
  return socket.opened;
};
const next = (type) => new Promise((resolve) => socket.addEventListener(type, resolve, { once: true }));
const count = () => socket.request({ text: "count" }, { matches: () => true });

test("it counts", async () => {
  await connect();
  assert.deepEqual(await count(), { text: "1" });
  assert.deepEqual(await count(), { text: "2" });
});

test("it reminds every minute", async () => {
  await connect();
  await count();
  const reminder = next("message");
  await devnet.advance(60);
  assert.equal((await reminder).data.text, "still 1");
});

test("a trap that is injected disconnects", async () => {
  await connect();
  await devnet.fault("trap", { method: "ws_message", count: 1 });
  const disconnected = next("disconnect");
  await assert.rejects(count());
  assert.equal((await disconnected).code, 4111);
});

test("a gateway that crashes means a new session", async () => {
  await connect();
  await count();
  const disconnected = next("disconnect");
  await gateway.kill();
  await disconnected;
  await gateway.start();
  assert.deepEqual(await count(), { text: "1" });
});
