// Wire formats: frames of the gateway, envelopes of this client. docs/protocol.md specifies each.
import { Cbor, requestIdOf } from "@icp-sdk/core/agent";
import { Principal } from "@icp-sdk/core/principal";
import { ClientError } from "./errors.js";

/** How long a call is valid, in ms: the network accepts five minutes. */
const EXPIRY_MS = 240_000;

/** @param {string} code @param {string} detail @param {unknown} [cause] @returns {never} */
const refuse = (code, detail, cause) => {
  throw new ClientError(code, { detail, cause });
};

/** @param {string} code @param {Uint8Array} bytes @returns {any} */
const decode = (code, bytes) => {
  try {
    return Cbor.decode(bytes);
  } catch (error) {
    return refuse(code, "it is not CBOR", error);
  }
};

/** @param {any} map @param {string} name @returns {Uint8Array} */
const blob = (map, name) =>
  map?.[name] instanceof Uint8Array ? map[name] : refuse("bad-frame", `${name} is not a byte string`);

/** @param {any} map @param {string} name @returns {bigint} */
const nat64 = (map, name) => {
  const value = map?.[name];
  if (typeof value !== "number" && typeof value !== "bigint") refuse("bad-frame", `${name} is not a number`);
  return BigInt(value);
};

/**
 * The gateway's first message.
 * @param {Uint8Array} bytes
 */
export const readHandshake = (bytes) => {
  const principal = decode("bad-handshake", bytes)?.gateway_principal;
  if (!(principal instanceof Uint8Array) || principal.length > 29) refuse("bad-handshake", "it names no gateway principal");
  return Principal.fromUint8Array(principal);
};

/** The longest message of the gateway itself, and the tag with which each begins: messages of canisters have none. */
const MOST_GATEWAY_BYTES = 256;
const TAG = [0xd9, 0xd9, 0xf7];

/** The last message on a connection. */
export const LEAVING = Cbor.encode({ leaving: true });

/**
 * A message of the gateway itself; null if it is one of the canister.
 * @param {Uint8Array} bytes
 * @returns {"move" | "relayed" | "unknown" | null}
 */
export const readGatewayMessage = (bytes) => {
  if (bytes.length > MOST_GATEWAY_BYTES || !TAG.every((byte, at) => bytes[at] === byte)) return null;
  const map = decode("bad-frame", bytes);
  if (typeof map?.key === "string") return null;
  if (map?.move) return "move";
  return map?.relayed === true ? "relayed" : "unknown";
};

/**
 * A message of the canister, as the gateway delivers it.
 * @param {Uint8Array} bytes
 */
export const readFrame = (bytes) => {
  const map = decode("bad-frame", bytes);
  if (typeof map?.key !== "string") refuse("bad-frame", "it has no key");
  return { key: /** @type {string} */ (map.key), content: blob(map, "content"), cert: blob(map, "cert"), tree: blob(map, "tree") };
};

/**
 * The fields of a verified message.
 * @param {Uint8Array} content
 */
export const readContent = (content) => {
  const map = decode("bad-frame", content);
  if (typeof map?.is_service_message !== "boolean") refuse("bad-frame", "is_service_message is missing");
  return {
    principal: blob(map.client_key, "client_principal"),
    nonce: nat64(map.client_key, "client_nonce"),
    sequence: nat64(map, "sequence_num"),
    timestamp: nat64(map, "timestamp"),
    isService: /** @type {boolean} */ (map.is_service_message),
    content: blob(map, "content"),
  };
};

/**
 * A signed call as the message for the gateway.
 * @param {{identity: import("@icp-sdk/core/agent").Identity, canister: Principal, method: string, arg: Uint8Array,
 *   now: number, moves?: boolean}} call now: ms since 1970; moves: tell the gateway that this client can move
 */
export const sealCall = async ({ identity, canister, method, arg, now, moves }) => {
  const content = {
    request_type: "call",
    canister_id: canister,
    method_name: method,
    arg,
    sender: identity.getPrincipal(),
    ingress_expiry: BigInt(now + EXPIRY_MS) * 1_000_000n,
    nonce: crypto.getRandomValues(new Uint8Array(16)),
  };
  try {
    /** @type {any} */
    const request = { request: {}, endpoint: "call", body: content };
    const { body } = /** @type {any} */ (await identity.transformRequest(request));
    const message = moves ? { envelope: body, moves } : { envelope: body };
    return { bytes: Cbor.encode(message), requestId: requestIdOf(body.content) };
  } catch (error) {
    throw new ClientError("signing-failed", { cause: error, detail: error instanceof Error ? error.message : "" });
  }
};
