// Addresses and the root key.
import { Cbor, IC_ROOT_KEY } from "@icp-sdk/core/agent";
import { ClientError, messageOf } from "./errors.js";

/** Domains of mainnet, with all names below them. */
const MAINNET = ["icp-api.io", "icp0.io", "ic0.app", "icp.net"];

const LOOPBACK = /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/;

/** @param {string} text @param {string} option */
const parse = (text, option) => {
  try {
    return new URL(text);
  } catch {
    throw new ClientError("invalid-option", { detail: `${option} is not a URL: ${text}` });
  }
};

/** A page from https:// may use plain addresses of this machine only. */
const refuseMixedContent = (/** @type {URL} */ url, /** @type {string | undefined} */ page) => {
  const plain = url.protocol === "ws:" || url.protocol === "http:";
  if (page === "https:" && plain && !LOOPBACK.test(url.hostname)) throw new ClientError("mixed-content", { detail: url.href });
};

/**
 * The gateway's address for a WebSocket.
 * @param {string} text ws:, wss:, http: or https:
 * @param {string} [page] the page's protocol
 */
export const gatewayUrl = (text, page) => {
  const url = parse(text, "gateway");
  if (url.protocol === "http:" || url.protocol === "https:") url.protocol = url.protocol.replace("http", "ws");
  if (url.protocol !== "ws:" && url.protocol !== "wss:") {
    throw new ClientError("invalid-option", { detail: `gateway is neither ws:// nor wss://: ${text}` });
  }
  refuseMixedContent(url, page);
  return url.href;
};

/**
 * @param {string} text the network's address
 * @param {string} [page] the page's protocol
 */
export const networkUrl = (text, page) => {
  const url = parse(text, "network");
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new ClientError("invalid-option", { detail: `network is neither http:// nor https://: ${text}` });
  }
  refuseMixedContent(url, page);
  return url;
};

/** Whether an address is mainnet's, whose root key is known. */
export const isMainnet = (/** @type {URL} */ { hostname }) =>
  MAINNET.some((domain) => hostname === domain || hostname.endsWith(`.${domain}`));

const unhex = (/** @type {string} */ text) => Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));

/**
 * The network's root key: mainnet's is known, any other is read from the network, which is trusted with it.
 * @param {URL} network
 * @param {typeof fetch} fetcher
 * @param {AbortSignal} signal
 * @returns {Promise<Uint8Array>}
 */
export const readRootKey = async (network, fetcher, signal) => {
  if (isMainnet(network)) return unhex(IC_ROOT_KEY);
  try {
    const answer = await fetcher(new URL("/api/v2/status", network), { signal });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const key = /** @type {any} */ (Cbor.decode(new Uint8Array(await answer.arrayBuffer())))?.root_key;
    if (!(key instanceof Uint8Array)) throw new Error("its status has no root key");
    return key;
  } catch (error) {
    throw new ClientError("network-unreachable", { detail: `${network.origin}: ${messageOf(error)}`, cause: error });
  }
};
