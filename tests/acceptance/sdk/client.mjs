// One client of the SDK (ic-websocket-js), with its callbacks turned into promises.
import "./globals.mjs";
import { Actor, HttpAgent } from "@dfinity/agent";
import { DelegationChain, DelegationIdentity, Ed25519KeyIdentity } from "@dfinity/identity";
import { IcWebSocket, createWsConfig, generateRandomIdentity } from "ic-websocket-js";
import { canisterInterface } from "./canister.mjs";
import { Inbox, deferred, within } from "./report.mjs";

/** What Internet Identity gives a page: a key of the session's, to which the person's key has delegated. */
export async function delegated() {
  const [person, session] = [Ed25519KeyIdentity.generate(), Ed25519KeyIdentity.generate()];
  const until = new Date(Date.now() + 3_600_000);
  return DelegationIdentity.fromDelegation(session, await DelegationChain.create(person, session.getPublicKey(), until));
}

export class Client {
  /**
   * @param {object} options gateway, network, canister: where to; ackMs: the canister's acknowledgement interval;
   *   key: "ed25519" or "secp256k1"; identity: one to use in place of a new one
   */
  constructor({ gateway, network, canister, ackMs, key = "ed25519", identity }) {
    this.identity = identity ?? (key === "secp256k1" ? generateRandomIdentity() : Ed25519KeyIdentity.generate());
    this.inbox = new Inbox();
    this.errors = [];
    const opened = deferred();
    const closed = deferred();
    this.opened = opened.promise;
    this.closed = closed.promise;
    this.opened.catch(() => undefined);
    const agent = HttpAgent.createSync({ host: network, identity: this.identity });
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

  static async open(options) {
    const client = new Client(options);
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
