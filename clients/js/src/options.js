// The options of a CanisterSocket, checked at once.
import { Principal } from "@icp-sdk/core/principal";
import { PAUSES } from "./backoff.js";
import { codecOf } from "./candid.js";
import { webSocketClass } from "./environment.js";
import { ClientError } from "./errors.js";
import { checkNames } from "./option_names.js";
import { PACE } from "./pace.js";
import { gatewayUrl, networkUrl } from "./network.js";

/**
 * @typedef {import("@icp-sdk/core/agent").Identity} Identity
 * @typedef {import("@icp-sdk/core/principal").Principal} CanisterId
 */

/**
 * What the hook resynchronize gets.
 * @typedef {object} Resynchronization
 * @property {(message: any) => boolean} send sends before everything that waits, also if the buffer is full. Throws
 *   "connection-lost" if this session has ended
 * @property {(message: any, options?: import("./requests.js").RequestOptions) => Promise<any>} request the same, with a reply
 * @property {unknown[]} unconfirmed messages that were sent and not acknowledged: each may have been executed or not
 * @property {boolean} complete false: there were more of them than are kept
 */

/**
 * One frame, for the option trace.
 * @typedef {object} Traced
 * @property {"in" | "out"} direction
 * @property {string} what "handshake", "ws_open", "message" or the name of a service message
 * @property {number} bytes of the frame
 * @property {bigint} [sequence]
 * @property {any} [value] the message
 * @property {Uint8Array} [requestId] of a call
 * @property {string} [key] of a canister's message
 * @property {bigint} [timestamp] of a canister's message, nanoseconds since 1970
 * @property {{root: Uint8Array, ageMs: number, delegated: boolean}} [verified] what its certificate says
 */

/**
 * @typedef {object} Options
 * @property {string | string[]} gateway ws:// or wss:// address, or several: when one fails, the next one is tried
 * @property {string | CanisterId} canister
 * @property {string} [network] address of the gateway's network; mainnet without it. Another network is trusted with its
 *   root key
 * @property {Uint8Array} [rootKey] the network's root key in DER, if you know it
 * @property {Identity | Promise<Identity> | (() => Identity | Promise<Identity>)} [identity] what signs, or a function that
 *   is called before each connection; without it the socket generates a key for itself
 * @property {any} [messageType] Candid type of messages (IDL.Record(...)); without a type they are bytes
 * @property {(kit: {IDL: any}) => any} [idlFactory] the canister's generated interface, in place of messageType
 * @property {import("./candid.js").Codec} [codec] own encoding, in place of messageType
 * @property {(session: Resynchronization) => unknown} [resynchronize] called when a session follows a lost one, before
 *   messages that wait are sent
 * @property {boolean} [reconnect] false: the first connection is the only one
 * @property {number} [openTimeoutMs] 60,000; in this and the next five, Infinity is no bound
 * @property {number} [silenceMs] a connection without any message for this long is given up, 360,000: more than the
 *   canister's acknowledgement interval
 * @property {number} [maxBufferedBytes] of messages that wait to be sent, 1 MiB
 * @property {number} [maxBufferedMessages] 1,000
 * @property {number} [maxMessageBytes] of one message, 2,090,000
 * @property {number} [maxIncomingBytes] that arrived and are not verified yet, 64 MiB
 * @property {Partial<import("./pace.js").Pace>} [pace] how fast messages are sent: 100 at once, then 20 a second
 * @property {Partial<import("./backoff.js").Pauses>} [pauses] between connections
 * @property {any} [WebSocket] the class to use
 * @property {typeof fetch} [fetch] the function to use for the root key
 * @property {(frame: Traced) => void} [trace] called with each frame, for inspectors
 */

/** All options. The type makes sure that none is missing. @type {Record<keyof Options, true>} */
const NAMES = {
  gateway: true,
  canister: true,
  network: true,
  rootKey: true,
  identity: true,
  messageType: true,
  idlFactory: true,
  codec: true,
  resynchronize: true,
  reconnect: true,
  openTimeoutMs: true,
  silenceMs: true,
  maxBufferedBytes: true,
  maxBufferedMessages: true,
  maxMessageBytes: true,
  maxIncomingBytes: true,
  pace: true,
  pauses: true,
  WebSocket: true,
  fetch: true,
  trace: true,
};

/** A number among the options, or its default. @param {string} name @param {number | undefined} given @param {number} standard @param {(number: number) => boolean} [isValid] */
const numberOf = (name, given, standard, isValid = (number) => number > 0) => {
  const number = given ?? standard;
  if (typeof number === "number" && isValid(number)) return number;
  throw new ClientError("invalid-option", { detail: `${name} cannot be ${number}` });
};

/** @param {Options["pace"]} given @returns {import("./pace.js").Pace} */
const paceOf = (given) => ({
  burst: numberOf("pace.burst", given?.burst, PACE.burst, (number) => number >= 1),
  perSecond: numberOf("pace.perSecond", given?.perSecond, PACE.perSecond, (number) => number > 0 && Number.isFinite(number)),
});

/** @param {Options["pauses"]} given @returns {import("./backoff.js").Pauses} */
const pausesOf = (given) => {
  const pause = (/** @type {keyof import("./backoff.js").Pauses} */ name) =>
    numberOf(`pauses.${name}`, given?.[name], PAUSES[name], (number) => number >= 0);
  return { firstMs: pause("firstMs"), laterMs: pause("laterMs"), mostMs: pause("mostMs"), stableMs: pause("stableMs") };
};

/** The option trace: an error in it does not concern the connection. @param {Options["trace"]} trace @returns {Options["trace"]} */
const guarded = (trace) =>
  trace &&
  ((frame) => {
    try {
      trace(frame);
    } catch (error) {
      console.error("icws-client: the option trace has failed:", error);
    }
  });

/**
 * The options with their defaults. Throws a TypeError for an unknown option, a ClientError for an invalid value.
 * @param {Options} options
 */
export const checked = (options) => {
  checkNames(options, NAMES);
  checkNames(options.pace ?? {}, PACE, "pace");
  checkNames(options.pauses ?? {}, PAUSES, "pauses");
  const page = globalThis.location?.protocol;
  const gateways = [options.gateway].flat().map((url) => gatewayUrl(String(url), page));
  if (gateways.length === 0) throw new ClientError("invalid-option", { detail: "gateway names no address" });
  let canister;
  try {
    canister = Principal.from(options.canister);
  } catch (error) {
    const detail = options.canister ? `canister is not a canister id: ${options.canister}` : "canister is missing";
    throw new ClientError("invalid-option", { detail, hint: "Copy the id again: it has a checksum.", cause: error });
  }
  const WebSocket = options.WebSocket ?? webSocketClass();
  if (!WebSocket) throw new ClientError("no-websocket");
  return {
    gateways,
    canister,
    network: networkUrl(options.network ?? "https://icp-api.io", page),
    rootKey: options.rootKey,
    identity: options.identity,
    codec: codecOf(options),
    resynchronize: options.resynchronize,
    reconnect: options.reconnect ?? true,
    openTimeoutMs: numberOf("openTimeoutMs", options.openTimeoutMs, 60_000),
    silenceMs: numberOf("silenceMs", options.silenceMs, 360_000),
    outbox: {
      maxBytes: numberOf("maxBufferedBytes", options.maxBufferedBytes, 2 ** 20),
      maxMessages: numberOf("maxBufferedMessages", options.maxBufferedMessages, 1_000),
    },
    maxMessageBytes: numberOf("maxMessageBytes", options.maxMessageBytes, 2_090_000),
    maxIncomingBytes: numberOf("maxIncomingBytes", options.maxIncomingBytes, 2 ** 26),
    pace: paceOf(options.pace),
    pauses: pausesOf(options.pauses),
    WebSocket,
    fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
    trace: guarded(options.trace),
  };
};
