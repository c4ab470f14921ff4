// One client of the SDK (ic-websocket-js), with its callbacks turned into promises.
import "./globals.mjs";
import { createRequire } from "node:module";
import { canisterInterface } from "./canister.mjs";
import { Inbox, deferred, params, within } from "./report.mjs";

// The SDK beside this file, as ES modules, or the release in versions/<sdk> with its own agent, as CommonJS.
const load = params.sdk
  ? createRequire(new URL(`./versions/${params.sdk}/package.json`, import.meta.url))
  : (name) => import(name);
const { Actor, HttpAgent } = await load("@dfinity/agent");
const { DelegationChain, DelegationIdentity, ECDSAKeyIdentity, Ed25519KeyIdentity } = await load("@dfinity/identity");
const sdk = await load("ic-websocket-js");
const { createWsConfig, generateRandomIdentity } = sdk;
const IcWebSocket = sdk.IcWebSocket ?? sdk.default; // before 0.5 it is the default export

/** What Internet Identity gives a page: a key of the session's, to which the person's key has delegated. */
export async function delegated(session = Ed25519KeyIdentity.generate()) {
  const person = Ed25519KeyIdentity.generate();
  const until = new Date(Date.now() + 3_600_000);
  return DelegationIdentity.fromDelegation(session, await DelegationChain.create(person, session.getPublicKey(), until));
}

/** A new identity, by the kind of its key. "webcrypto": what a browser holds after Internet Identity's login. */
const identities = {
  ed25519: async () => Ed25519KeyIdentity.generate(),
  secp256k1: async () => generateRandomIdentity(),
  delegation: () => delegated(),
  webcrypto: async () => delegated(await ECDSAKeyIdentity.generate()),
};

export class Client {
  /**
   * @param {object} options gateway, network, canister: where to; ackMs: the canister's acknowledgement interval;
   *   identity: who it is
   */
  constructor({ gateway, network, canister, ackMs, identity }) {
    this.identity = identity;
    this.inbox = new Inbox();
    this.errors = [];
    const opened = deferred();
    const closed = deferred();
    this.opened = opened.promise;
    this.closed = closed.promise;
    this.opened.catch(() => undefined);
    const agent = new HttpAgent({ host: network, identity: this.identity });
    this.socket = new IcWebSocket(
      gateway,
      undefined,
      createWsConfig({
        canisterId: canister,
        canisterActor: Actor.createActor(canisterInterface, { agent, canisterId: canister }),
        identity: this.identity,
        networkUrl: network,
        ...(ackMs === undefined ? {} : { ackMessageIntervalMs: ackMs }),
      }),
    );
    // The SDK begins to fetch the root key and does not wait for it, so that on a replica that opens within
    // milliseconds its first message is checked with the mainnet's key. Wait where it forgets to.
    const rootKey = this.socket._httpAgent.fetchRootKey();
    const isValid = this.socket._isIncomingMessageValid.bind(this.socket);
    this.socket._isIncomingMessageValid = (message) => rootKey.then(() => isValid(message));
    this.socket.onopen = () => opened.resolve();
    this.socket.onmessage = (event) => this.inbox.put(event.data.text);
    this.socket.onerror = (event) => this.errors.push(String(event.error?.message ?? event.message));
    this.socket.onclose = (event) => {
      const close = { code: event.code, reason: event.reason, wasClean: event.wasClean };
      const error = new Error(`closed: ${JSON.stringify({ ...close, errors: this.errors })}`);
      opened.reject(error);
      this.inbox.fail(error);
      closed.resolve(close);
    };
  }

  /** @param {object} options see the constructor; key: what kind of identity to make where none is given */
  static async open({ key = "ed25519", ...options }) {
    const client = new Client({ identity: await identities[key](), ...options });
    await within(30_000, "open", client.opened);
    return client;
  }

  send(text) {
    this.socket.send({ text });
  }

  /** Sends the texts in one go and returns what came back for them, in order of arrival. */
  async echo(texts) {
    for (const text of texts) this.send(text);
    const answers = [];
    while (answers.length < texts.length) answers.push(await this.inbox.next());
    return answers;
  }

  async close() {
    this.socket.close();
    return within(10_000, "close", this.closed);
  }
}
