// Every failure by name: what happened, and what to do about it.
import { REJECT_HINTS } from "./close_codes.js";

/**
 * One kind of failure: a message for people, a hint for the developer, whether to connect again.
 * @type {Record<string, {message: string, hint: string, reconnect: import("./close_codes.js").Reconnect}>}
 */
export const ERRORS = {
  // what the application gave
  "invalid-option": { message: "an option is missing or wrong", hint: "See the options of CanisterSocket.", reconnect: "never" },
  "mixed-content": {
    message: "a page from https:// may not connect to a plain address",
    hint: "Use wss:// for the gateway and https:// for the network, or serve the page from http://localhost.",
    reconnect: "never",
  },
  "no-websocket": {
    message: "this environment has no WebSocket",
    hint: "On Node 20 install the package ws, or pass a class as the option WebSocket.",
    reconnect: "never",
  },
  "anonymous-identity": {
    message: "the anonymous identity cannot open a session",
    hint: "Leave the option identity out: a key is generated. Or wait until the person has signed in.",
    reconnect: "never",
  },
  "identity-unusable": {
    message: "the identity's delegation does not permit calls of this canister",
    hint: "It has expired, names other canisters, or permits queries only. Sign in again, or pass a function as the option identity: it is called before each connection.",
    reconnect: "never",
  },
  "signing-failed": { message: "the identity could not sign", hint: "The cause has the identity's own error.", reconnect: "later" },
  "unencodable-message": {
    message: "the message does not fit its type",
    hint: "With messageType or idlFactory a message is a value of that type, without them a Uint8Array.",
    reconnect: "never",
  },
  "message-too-big": {
    message: "the message is longer than the network accepts",
    hint: "A call has at most 2 MiB. Split the message, or store the data with a call of its own.",
    reconnect: "never",
  },
  "buffer-full": {
    message: "too many messages wait to be sent",
    hint: "The network takes about one message per block. Stop when send() returns false, go on at the event drain; put several things into one message.",
    reconnect: "never",
  },
  "socket-closed": { message: "the socket is closed", hint: "Make a new CanisterSocket.", reconnect: "never" },
  "too-many-requests": { message: "too many requests wait for a reply", hint: "Wait for replies before you send more requests.", reconnect: "never" },

  // the network and the gateway
  "network-unreachable": {
    message: "the network's root key could not be read",
    hint: "Is the option network the address of a replica (such as http://127.0.0.1:4943), is it running, and may this page read it (CORS)?",
    reconnect: "later",
  },
  "gateway-unreachable": {
    message: "cannot connect to the gateway",
    hint: "Is the gateway running at this address? Does its port speak TLS (wss://) or not (ws://)? Does it allow this page's origin?",
    reconnect: "again",
  },
  "open-timeout": {
    message: "the session was not opened in time",
    hint: "Does the canister have ws_open and ws_get_messages, and does the gateway reach its network?",
    reconnect: "later",
  },
  "connection-silent": {
    message: "no message came for longer than the canister may be silent",
    hint: "The connection is probably cut. If the canister acknowledges less often than every five minutes, give a longer silenceMs.",
    reconnect: "again",
  },
  "connection-lost": {
    message: "the connection was lost",
    hint: "Messages that were sent may have been executed or not: ask the canister in the hook resynchronize.",
    reconnect: "again",
  },
  "closed-by-gateway": { message: "the gateway closed the connection", hint: "The reason says why, the table of close codes what a code means.", reconnect: "again" },
  "closed-by-canister": { message: "the canister closed the session", hint: "The reason is the canister's.", reconnect: "never" },

  // what arrived
  "bad-handshake": {
    message: "the first message is not a gateway's handshake",
    hint: "Is this the address of an IC WebSocket gateway?",
    reconnect: "later",
  },
  "bad-frame": { message: "a message of the gateway has the wrong form", hint: "Report it to the gateway's operator.", reconnect: "later" },
  "certificate-invalid": {
    message: "a message's certificate is not signed by the network",
    hint: "Is the option network the network that the gateway uses? A local replica has another root key than mainnet.",
    reconnect: "later",
  },
  "certificate-age": {
    message: "a message's certificate is too old or from the future",
    hint: "Set this device's clock. If it is right, the gateway or its network is late.",
    reconnect: "later",
  },
  "witness-mismatch": {
    message: "a message is not what the canister certifies",
    hint: "Something between the canister and this client has changed it.",
    reconnect: "later",
  },
  "not-for-this-client": { message: "a message is for another client", hint: "Report it to the gateway's operator.", reconnect: "later" },
  "sequence-gap": {
    message: "a message of the canister is missing",
    hint: "The session is opened again; the hook resynchronize can ask for what was missed.",
    reconnect: "again",
  },
  "too-many-incoming": {
    message: "messages come faster than this device can verify them",
    hint: "Let the canister send less, or put several things into one message.",
    reconnect: "later",
  },
  "bad-service-message": {
    message: "a service message of the canister is wrong",
    hint: "Does the canister use a WebSocket CDK that this client knows?",
    reconnect: "later",
  },
  "undecodable-message": {
    message: "a message of the canister does not fit the type of messages",
    hint: "Compare messageType or idlFactory with the canister's .did file. The connection stays open; the event has the bytes.",
    reconnect: "never",
  },

  // of requests and hooks
  "request-timeout": { message: "no reply came in time", hint: "The option matches may not recognise it.", reconnect: "never" },
  "resynchronize-failed": { message: "the hook resynchronize failed", hint: "The cause has its error.", reconnect: "later" },
};

/** A failure by name. */
export class ClientError extends Error {
  /**
   * @param {string} code one of ERRORS
   * @param {{detail?: string, hint?: string, cause?: unknown, closeCode?: number, reason?: string,
   *   reconnect?: import("./close_codes.js").Reconnect, data?: Uint8Array}} [more]
   */
  constructor(code, more = {}) {
    const { message, hint, reconnect } = ERRORS[code];
    super(more.detail ? `${message}: ${more.detail}` : message, { cause: more.cause });
    this.name = "ClientError";
    /** Which failure: a key of ERRORS. */
    this.code = code;
    /** What to do about it. */
    this.hint = more.hint || hint;
    /** Whether the client connects again after it. */
    this.reconnect = more.reconnect ?? reconnect;
    /** The WebSocket close code, if there was one. */
    this.closeCode = more.closeCode;
    /** The gateway's or the canister's reason, if it gave one. */
    this.reason = more.reason;
    /** The bytes of a message that could not be decoded. */
    this.data = more.data;
  }
}

/** What to do about the network's error code in a reason. @returns {string | undefined} */
export const rejectHint = (/** @type {string} */ reason) =>
  Object.entries(REJECT_HINTS).find(([code]) => reason.includes(code))?.[1];

/** The message of a thrown value, in one line: some libraries add a stack trace, `fetch` has the reason in its cause. */
export const messageOf = (/** @type {unknown} */ thrown) => {
  const error = /** @type {any} */ (thrown);
  const [line] = String(error?.message ?? thrown).split("\n", 1);
  return error?.cause?.code ? `${line} (${error.cause.code})` : line;
};

/**
 * A thrown value as a ClientError.
 * @param {unknown} error @param {string} code of the new error, if it is not a ClientError
 */
export const asClientError = (error, code) =>
  error instanceof ClientError
    ? error
    : new ClientError(code, { detail: messageOf(error), cause: error });
