// Scenarios of the client against real processes: `node acceptance/scenarios.mjs '{"scenario": NAME, "gateway": ..., ...}'`.
import { createServer, connect } from "node:net";
import { DelegationChain, DelegationIdentity, ECDSAKeyIdentity, Ed25519KeyIdentity } from "@icp-sdk/core/identity";
import { Secp256k1KeyIdentity } from "@icp-sdk/core/identity/secp256k1";
import { CanisterSocket, IDL } from "icws-client";
import { acknowledge, control } from "../../../tests/acceptance/sdk/replica.mjs";
import { Inbox, emit, main, within } from "../../../tests/acceptance/sdk/report.mjs";

const messageType = IDL.Record({ text: IDL.Text });
/** Pauses for tests: a machine that is busy is no reason to wait for a minute. */
const pauses = { firstMs: 100, laterMs: 200, mostMs: 1_000 };

/** What Internet Identity gives a page: a WebCrypto key, to which the person's key has delegated. */
const delegated = async (options) => {
  const person = Ed25519KeyIdentity.generate();
  const session = await ECDSAKeyIdentity.generate();
  const until = new Date(Date.now() + 3_600_000);
  return DelegationIdentity.fromDelegation(session, await DelegationChain.create(person, session.getPublicKey(), until, options));
};

const identities = {
  generated: async () => undefined,
  secp256k1: async () => Secp256k1KeyIdentity.generate(),
  delegation: () => delegated(),
};

/** A socket with its messages in an inbox and its errors, states and frames in lists. */
const make = ({ gateway, network, canister, ...options }) => {
  const socket = new CanisterSocket({
    gateway,
    network,
    canister,
    messageType,
    pauses,
    trace: (frame) => socket.frames.push(frame),
    ...options,
  });
  Object.assign(socket, { inbox: new Inbox(), errors: [], states: [], disconnects: [], frames: [] });
  socket.onmessage = ({ data }) => socket.inbox.put(data.text ?? data);
  socket.onerror = ({ error }) => socket.errors.push({ code: error.code, message: error.message, hint: error.hint, closeCode: error.closeCode, reason: error.reason });
  socket.onstatechange = ({ state }) => socket.states.push(state);
  socket.ondisconnect = ({ code, pauseMs }) => socket.disconnects.push({ code, again: pauseMs !== null });
  return socket;
};

const summary = ({ states, errors, disconnects }) => ({ states, errors, disconnects });

const end = async (socket) => {
  socket.close();
  const { code, unsent } = await within(15_000, "close", socket.closed);
  return { code, unsent, ...summary(socket) };
};

const state = (socket, wanted) =>
  within(
    20_000,
    `state ${wanted}`,
    new Promise((done) => {
      const look = () => socket.state === wanted && done();
      socket.addEventListener("statechange", look);
      look();
    }),
  );

const texts = (from, count) => Array.from({ length: count }, (_, i) => `message ${from + i}`);

/** A line between client and gateway that can be cut: `cut()` breaks it, `freeze()` lets nothing through any more. */
const line = async (gateway) => {
  const { hostname, port } = new URL(gateway);
  const ends = new Set();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const socket of [near, far]) {
      ends.add(socket);
      socket.on("error", () => {}).on("close", () => (ends.delete(socket), near.destroy(), far.destroy()));
    }
    near.pipe(far);
    far.pipe(near);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `ws://127.0.0.1:${server.address().port}`,
    cut: () => ends.forEach((socket) => socket.destroy()),
    freeze: () => ends.forEach((socket) => socket.unpipe().pause()),
    close: () => (ends.forEach((socket) => socket.destroy()), server.close()),
  };
};

const scenarios = {
  /** Sends before it is open, matches replies, sends bytes, with an identity of each kind. */
  async echo({ key, ...options }) {
    const socket = make({ ...options, identity: await identities[key]() });
    socket.send({ text: "early" });
    const first = await socket.inbox.next();
    const replies = await Promise.all(
      ["one", "two"].map((text) => socket.request({ text }, { matches: (reply) => reply.text.endsWith(text) })),
    );
    await socket.flush();
    return { first, replies: replies.map(({ text }) => text), principal: socket.principal.toText(), ...(await end(socket)) };
  },

  async raw(options) {
    const socket = make({ ...options, messageType: undefined });
    const reply = await socket.request(IDL.encode([messageType], [{ text: "raw" }]));
    const [{ text }] = IDL.decode([messageType], reply);
    return { text, ...(await end(socket)) };
  },

  async bursts({ count, burst, ...options }) {
    const socket = make(options);
    const answers = [];
    for (let sent = 0; sent < count; sent += burst) {
      for (const text of texts(sent, burst)) socket.send({ text });
      for (let i = 0; i < burst; i++) answers.push(await socket.inbox.next());
    }
    return { answers, ...(await end(socket)) };
  },

  async acknowledgements({ rounds, ...options }) {
    const socket = make(options);
    await socket.opened;
    const keepAlives = () => socket.frames.filter(({ what }) => what === "KeepAliveMessage").length;
    const answers = [];
    for (let round = 1; round <= rounds; round++) {
      await acknowledge(options.network);
      while (keepAlives() < round) {
        socket.send({ text: `after ${keepAlives()}` });
        answers.push(await socket.inbox.next());
        await new Promise((done) => setTimeout(done, 200));
      }
      // the keep-alive is executed when what was sent after it is
      socket.send({ text: "after a keep-alive" });
      answers.push(await socket.inbox.next());
    }
    return { answers: answers.length, keepAlives: keepAlives(), ...(await end(socket)) };
  },

  /** Lives through what pytest does to the gateway at each event "ready", and through a reset of the canister. */
  async survives({ times, ...options }) {
    const hooks = [];
    const socket = make({
      ...options,
      resynchronize: async ({ request, unconfirmed, complete }) => {
        const { text } = await request({ text: "where was I" });
        hooks.push({ text, unconfirmed: unconfirmed.map(({ text }) => text), complete });
      },
    });
    await socket.opened;
    const answers = [];
    const disturbed = async (name, disturb) => {
      const disconnected = new Promise((done) => socket.addEventListener("disconnect", done, { once: true }));
      const reopened = new Promise((done) => socket.addEventListener("open", done, { once: true }));
      await disturb();
      await within(20_000, `${name}: disconnect`, disconnected);
      socket.send({ text: `waited ${name}` });
      await within(20_000, `${name}: open`, reopened);
      answers.push(await socket.inbox.next());
    };
    for (let round = 1; round <= times; round++) await disturbed(round, () => emit({ event: "ready", round }));
    await disturbed("reset", async () => {
      await control(options.network, "reset", { canister: options.canister });
      socket.send({ text: "into the void" });
    });
    return { answers, hooks, ...(await end(socket)) };
  },

  /** A line that breaks, and one that goes silent without breaking. */
  /** The gateway stops: the session moves to the other one, while messages go up and down. */
  async moves(options) {
    const socket = make(options);
    await within(30_000, "open", socket.opened);
    let sent = 0;
    const sending = setInterval(() => socket.send({ text: `message ${sent++}` }), 100);
    for (let i = 0; i < 5; i++) await socket.inbox.next();
    const moved = new Promise((done) => socket.addEventListener("open", done, { once: true }));
    emit({ event: "ready" });
    const { resumed } = await within(60_000, "moved", moved);
    const before = sent;
    while (sent < before + 10) await new Promise((done) => setTimeout(done, 50));
    clearInterval(sending);
    const answers = [];
    while (answers.length < sent - 5) answers.push(await socket.inbox.next());
    return { resumed, sent, answers, ...(await end(socket)) };
  },

  async cuts({ gateway, ...options }) {
    const cable = await line(gateway);
    const socket = make({ ...options, gateway: cable.url, silenceMs: 15_000, resynchronize: () => {} });
    await socket.opened;
    cable.cut();
    await state(socket, "waiting");
    await state(socket, "open");
    const { text: first } = await socket.request({ text: "after the cut" });
    cable.freeze();
    await state(socket, "waiting");
    await state(socket, "open");
    const { text: second } = await socket.request({ text: "after the silence" });
    const result = await end(socket);
    cable.close();
    return { first, second, ...result };
  },

  async closedByCanister(options) {
    const socket = make(options);
    await socket.opened;
    await control(options.network, "close", { canister: options.canister, client: socket.principal.toText() });
    const { code, reason } = await within(15_000, "close", socket.closed);
    return { code, reason, ...summary(socket) };
  },

  /** A second socket of the same identity takes the first one's place, which does not fight for it. */
  async replaced(options) {
    const identity = Ed25519KeyIdentity.generate();
    const first = make({ ...options, identity });
    await first.opened;
    const second = make({ ...options, identity });
    await second.opened;
    const { code } = await within(15_000, "close", first.closed);
    const { text } = await second.request({ text: "still here" });
    return { code, text, first: summary(first), ...(await end(second)) };
  },

  /** What goes wrong for good: how it ends. */
  async fails(options) {
    const socket = make({ reconnect: true, ...options });
    const why = await within(30_000, "the end", socket.opened.then(() => "opened", (error) => error.code));
    const { code, error } = await socket.closed;
    return { why, code, hint: error.hint, message: error.message, ...summary(socket) };
  },

  /** What goes wrong and is tried again: what the application is told. */
  async retries(options) {
    const socket = make(options);
    while (socket.disconnects.length < 2) {
      await within(30_000, "disconnect", new Promise((done) => socket.addEventListener("disconnect", done, { once: true })));
    }
    return end(socket);
  },

  /** Identities that cannot open a session are refused before anything leaves. */
  async unusable(options) {
    const expired = await delegated();
    expired.getDelegation().delegations[0].delegation.expiration = 1n;
    const given = {
      expired,
      elsewhere: await delegated({ targets: [(await delegated()).getPrincipal()] }),
      queries: await delegated({ permissions: "queries" }),
    };
    const codes = {};
    for (const [name, identity] of Object.entries(given)) {
      const socket = make({ ...options, identity });
      codes[name] = await socket.opened.then(() => "opened", (error) => error.code);
    }
    return { codes };
  },
};

await main(({ scenario, ...options }) => scenarios[scenario](options));
