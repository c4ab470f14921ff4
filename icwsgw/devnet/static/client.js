// A client of the gateway's protocol (docs/protocol.md): opens a session to a canister, sends and receives messages,
// answers the canister's acknowledgements, and checks what it can check of each message without BLS signatures.

import {
  BLOB,
  candidDecode,
  candidEncode,
  cborDecode,
  cborEncode,
  certificateTime,
  equal,
  lookup,
  principalBytes,
  principalText,
  reconstruct,
  requestId,
  selfAuthenticating,
  sha256,
  signedByRequest,
  text,
} from "./formats.js";

const CLIENT_KEY = ["record", { client_principal: "principal", client_nonce: "nat64" }];
const OPEN_ARGUMENTS = ["record", { client_nonce: "nat64", gateway_principal: "principal" }];
const MESSAGE_ARGUMENTS = [
  "record",
  {
    msg: [
      "record",
      { client_key: CLIENT_KEY, sequence_num: "nat64", timestamp: "nat64", is_service_message: "bool", content: BLOB },
    ],
  },
];
const APP_MESSAGE = ["record", { text: "text" }];
const KEEP_ALIVE = ["variant", { KeepAliveMessage: ["record", { last_incoming_sequence_num: "nat64" }] }];
const SERVICE_NAMES = [
  ...["OpenMessage", "AckMessage", "KeepAliveMessage", "CloseMessage"],
  ...["client_key", "client_principal", "client_nonce", "last_incoming_sequence_num", "reason"],
  ...["WrongSequenceNumber", "InvalidServiceMessage", "KeepAliveTimeout", "ClosedByApplication"],
];
const EXPIRY_MS = 4 * 60 * 1000;

/** A key pair made by the browser, whose private half does not leave it. */
export class Identity {
  static async generate() {
    if (!globalThis.crypto?.subtle) {
      throw new Error("this browser offers cryptography only to pages from https:// or from this very machine");
    }
    let keys;
    let signing;
    try {
      signing = { name: "Ed25519" };
      keys = await crypto.subtle.generateKey(signing, false, ["sign", "verify"]);
    } catch {
      signing = { name: "ECDSA", hash: "SHA-256" };
      keys = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
    }
    const der = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
    return new Identity(keys.privateKey, signing, der);
  }

  constructor(key, signing, der) {
    this.key = key;
    this.signing = signing;
    this.der = der;
    this.principal = selfAuthenticating(der);
  }

  get kind() {
    return this.signing.name === "Ed25519" ? "Ed25519" : "ECDSA P-256";
  }

  async sign(message) {
    return new Uint8Array(await crypto.subtle.sign(this.signing, this.key, message));
  }
}

/**
 * What this page can check of a message: that the tree holds the content's hash under the message's key, that the
 * tree is the one whose hash the canister certifies, and how old the certificate is. That the certificate is signed
 * by the network is for a library to check.
 */
export const verify = ({ key, content, cert, tree }, canister) => {
  const witness = cborDecode(tree);
  const certificate = cborDecode(cert);
  const certified = lookup(certificate.tree, [text("canister"), canister, text("certified_data")]);
  const leaf = lookup(witness, [text("websocket"), text(key)]);
  const root = reconstruct(witness);
  const time = certificateTime(certificate.tree);
  return {
    content: leaf !== null && equal(leaf, sha256(content)),
    tree: certified !== null && equal(certified, root),
    root,
    stateRoot: reconstruct(certificate.tree),
    ageMs: time === null ? null : Date.now() - Number(time / 1000000n),
    delegated: "delegation" in certificate,
  };
};

/**
 * One session. `events` is called with objects whose `kind` is "state", "sent", "received" or "closed";
 * the page draws what it is told and decides nothing.
 */
export class Session {
  constructor({ gateway, canister, identity, events }) {
    this.canister = principalBytes(canister);
    this.identity = identity;
    this.events = events;
    this.clientNonce = crypto.getRandomValues(new BigUint64Array(1))[0];
    this.gatewayPrincipal = null;
    this.incoming = 0n;
    this.outgoing = 0n;
    this.pending = [];
    this.queue = Promise.resolve();
    this.state = "connecting";
    this.socket = new WebSocket(gateway);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.#become("waiting for the gateway’s handshake");
    this.socket.onmessage = ({ data }) => this.#inOrder(() => this.#receive(new Uint8Array(data)));
    this.socket.onclose = ({ code, reason, wasClean }) => {
      this.#become("closed");
      this.events({ kind: "closed", code, reason, wasClean, gaveUp: this.gaveUp });
    };
  }

  /** Sends a text to the canister. */
  say(string) {
    this.pending.push({ string, at: performance.now() });
    this.#inOrder(() => this.#sendMessage(candidEncode([APP_MESSAGE], [{ text: string }]), false, { text: string }));
  }

  close() {
    this.socket.close(1000);
  }

  #become(state) {
    this.state = state;
    this.events({ kind: "state", state });
  }

  // Signing takes a while; one step after another keeps sequence numbers and frames in one order.
  #inOrder(step) {
    this.queue = this.queue.then(step).catch((error) => {
      this.gaveUp = String(error.message ?? error);
      this.socket.close(4000, "client error");
    });
  }

  async #call(method, arg, what) {
    const content = {
      request_type: "call",
      canister_id: this.canister,
      method_name: method,
      arg,
      sender: this.identity.principal,
      ingress_expiry: BigInt(Date.now() + EXPIRY_MS) * 1000000n,
      nonce: crypto.getRandomValues(new Uint8Array(16)),
    };
    const id = requestId(content);
    const frame = cborEncode({
      envelope: {
        content,
        sender_pubkey: this.identity.der,
        sender_sig: await this.identity.sign(signedByRequest(id)),
      },
    });
    this.socket.send(frame);
    this.events({ kind: "sent", method, requestId: id, bytes: frame.length, ...what });
  }

  #sendMessage(content, isService, what) {
    this.outgoing += 1n;
    const msg = {
      client_key: { client_principal: this.identity.principal, client_nonce: this.clientNonce },
      sequence_num: this.outgoing,
      timestamp: BigInt(Date.now()) * 1000000n,
      is_service_message: isService,
      content,
    };
    const arg = candidEncode([MESSAGE_ARGUMENTS, ["opt", "null"]], [{ msg }, null]);
    return this.#call("ws_message", arg, { sequence: this.outgoing, ...what });
  }

  async #receive(bytes) {
    const frame = cborDecode(bytes);
    if (this.gatewayPrincipal === null) {
      this.gatewayPrincipal = frame.gateway_principal.slice();
      this.events({ kind: "received", what: "handshake", bytes: bytes.length, gateway: principalText(this.gatewayPrincipal) });
      this.#become("opening");
      const opening = { client_nonce: this.clientNonce, gateway_principal: this.gatewayPrincipal };
      await this.#call("ws_open", candidEncode([OPEN_ARGUMENTS], [opening]), {});
      return;
    }
    const message = cborDecode(frame.content);
    const checks = verify(frame, this.canister);
    const sequence = BigInt(message.sequence_num);
    const facts = {
      kind: "received",
      key: frame.key,
      sequence,
      bytes: bytes.length,
      checks,
      deliveryMs: Date.now() - Number(BigInt(message.timestamp) / 1000000n),
    };
    if (!checks.content || !checks.tree) throw new Error(`message ${frame.key} is not what the canister certifies`);
    if (sequence !== this.incoming + 1n) throw new Error(`sequence number ${sequence} after ${this.incoming}`);
    this.incoming = sequence;
    if (message.is_service_message) await this.#service(message.content, facts);
    else this.#application(message.content, facts);
  }

  async #service(content, facts) {
    const [[name, body]] = candidDecode(content, SERVICE_NAMES).map((value) => Object.entries(value)[0]);
    this.events({ ...facts, what: name, body });
    if (name === "OpenMessage") this.#become("open");
    if (name === "AckMessage") {
      const keepAlive = { KeepAliveMessage: { last_incoming_sequence_num: this.incoming } };
      await this.#sendMessage(candidEncode([KEEP_ALIVE], [keepAlive]), true, { text: "KeepAliveMessage" });
    }
    if (name === "CloseMessage") {
      const [reason] = Object.keys(body.reason);
      this.socket.close(reason === "ClosedByApplication" ? 4001 : 4000, reason);
    }
  }

  #application(content, facts) {
    const [{ text: string }] = candidDecode(content, ["text"]);
    const own = this.pending.findIndex((sent) => string.endsWith(sent.string));
    const [sent] = own < 0 ? [] : this.pending.splice(0, own + 1).slice(-1);
    this.events({ ...facts, what: "message", text: string, roundTripMs: sent ? performance.now() - sent.at : null });
  }
}
