// Scenarios of the real SDK: `node sdk.mjs '{"scenario": NAME, "gateway": ..., "network": ..., ...}'`.
import { Client } from "./client.mjs";
import { acknowledge, control } from "./replica.mjs";
import { emit, main, within } from "./report.mjs";

const numbered = (from, count, mark) => Array.from({ length: count }, (_, i) => `${mark} ${from + i}`);

const scenarios = {
  /** Opens, has one message echoed, closes. */
  async echo(options) {
    const client = await Client.open(options);
    const [answer] = await client.echo(["hello from JavaScript"]);
    const close = await client.close();
    return { answer, close, errors: client.errors };
  },

  /** `count` messages each way, `burst` at a time without waiting, each one verified by the SDK. */
  async bursts({ count, burst, ...options }) {
    const client = await Client.open(options);
    const answers = [];
    for (let sent = 0; sent < count; sent += burst) {
      answers.push(...(await client.echo(numbered(sent, Math.min(burst, count - sent), "message"))));
    }
    const close = await client.close();
    return { answers, close, errors: client.errors };
  },

  /** The same with an identity of each kind in `counts`, one client after the other, and as many messages as it says. */
  async identities({ counts, ...options }) {
    const results = {};
    for (const [key, count] of Object.entries(counts)) {
      results[key] = await scenarios.bursts({ ...options, key, count });
    }
    return { results };
  },

  /** Lives through `rounds` acknowledgements: each answers with a keep-alive, messages go on in between. */
  async acknowledgements({ rounds, ...options }) {
    const client = await Client.open(options);
    const keepAlives = [];
    // The SDK has no callback for acknowledgements; what it does at each one is to send a keep-alive message.
    const sendKeepAlive = client.socket._sendKeepAliveMessage.bind(client.socket);
    let roundDone;
    client.socket._sendKeepAliveMessage = async () => {
      await sendKeepAlive();
      keepAlives.push(Date.now());
      emit({ event: "keep-alive", number: keepAlives.length });
      roundDone?.();
    };
    const answers = [];
    for (let round = 0; round < rounds; round++) {
      answers.push(...(await client.echo([`round ${round}`])));
      await acknowledge(options.network);
      if (keepAlives.length <= round) {
        await within(30_000, `acknowledgement ${round}`, new Promise((done) => (roundDone = done)));
      }
    }
    answers.push(...(await client.echo(["still here"])));
    const close = await client.close();
    return { answers, keepAlives: keepAlives.length, close, errors: client.errors };
  },

  /**
   * `clients` talk all the time while the gateway is replaced by new processes. An acknowledgement round begins with each
   * upgrade, or when the new process serves, in turn.
   */
  async upgrades({ clients, upgrades, admin, ...options }) {
    // connections of the admin port are not handed over: one of them may end
    const running = async () => {
      for (;;) {
        const status = await fetch(`${admin}/status.json`).catch(() => undefined);
        if (status?.ok) return (await status.json()).workers[0].pid;
      }
    };
    const all = await Promise.all(Array.from({ length: clients }, () => Client.open(options)));
    const keepAlives = all.map(() => 0);
    all.forEach(({ socket }, number) => {
      const sendKeepAlive = socket._sendKeepAliveMessage.bind(socket);
      socket._sendKeepAliveMessage = async () => {
        await sendKeepAlive();
        keepAlives[number] += 1;
      };
    });
    const answers = all.map(() => []);
    const talk = () =>
      Promise.all(
        all.map(async (client, number) => answers[number].push(...(await client.echo([`message ${answers[number].length}`])))),
      );
    const processes = [await running()];
    while (processes.length <= upgrades) {
      const early = processes.length % 2 === 1;
      if (early) await acknowledge(options.network);
      emit({ event: "upgrade", number: processes.length });
      const goals = keepAlives.map((count) => count + 1);
      const round = async () => {
        let process;
        do {
          await talk();
          process = await running();
        } while (process === processes.at(-1));
        if (!early) await acknowledge(options.network);
        while (keepAlives.some((count, number) => count < goals[number])) await talk();
        // the keep-alives are executed when what was sent after them is
        await talk();
        return process;
      };
      processes.push(await within(120_000, `upgrade ${processes.length}`, round()));
    }
    const closes = await Promise.all(all.map((client) => client.close()));
    return { answers, keepAlives, processes, closes, errors: all.flatMap((client) => client.errors) };
  },

  /** The canister closes, because of a request to the replica's control interface: the SDK answers with 4001. */
  async closedByCanister(options) {
    const client = await Client.open(options);
    await control(options.network, "close", { canister: options.canister, client: client.identity.getPrincipal().toText() });
    const close = await within(15_000, "close by the canister", client.closed);
    return { close, errors: client.errors };
  },

  /** `clients` stay open until the gateway ends their sessions. */
  async untilEnded({ clients, ...options }) {
    const all = await Promise.all(Array.from({ length: clients }, () => Client.open(options)));
    emit({ event: "open" });
    const closes = await within(30_000, "close", Promise.all(all.map((client) => client.closed)));
    return { closes, errors: all.flatMap((client) => client.errors) };
  },

  /** `clients` at once on an echo canister, `messages` each in one go. */
  async many({ clients, messages, ...options }) {
    const one = async (number) => {
      const client = await Client.open({ ...options, key: number % 2 ? "ed25519" : "secp256k1" });
      const texts = numbered(0, messages, `client ${number} message`);
      const answers = await client.echo(texts);
      return { client, ordered: answers.every((answer, i) => answer.endsWith(texts[i])) };
    };
    const done = await Promise.all(Array.from({ length: clients }, (_, i) => one(i)));
    const closes = await Promise.all(done.map(({ client }) => client.close()));
    return { ordered: done.map(({ ordered }) => ordered), closes, errors: done.flatMap(({ client }) => client.errors) };
  },

  /** `clients` in the chat room: each receives what each one sends, and all receive it in the same order. */
  async chat({ clients, ...options }) {
    const room = await Promise.all(Array.from({ length: clients }, () => Client.open(options)));
    room.forEach((client, i) => client.send(`I am number ${i}`));
    const received = await Promise.all(
      room.map(async (client) => {
        const texts = [];
        while (texts.length < clients) {
          const text = await client.inbox.next();
          if (text.includes("I am number")) texts.push(text);
        }
        return texts;
      }),
    );
    const closes = await Promise.all(room.map((client) => client.close()));
    return { received, closes, errors: room.flatMap((client) => client.errors) };
  },
};

await main(({ scenario, ...options }) => scenarios[scenario](options));
