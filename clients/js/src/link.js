// One connection to a gateway: one client key, numbers from 1.
import { Incoming, Outgoing } from "./sequence.js";

/** How long a gateway may take to answer a close frame. */
export const CLOSING_MS = 5_000;

export class Link {
  /** @type {WebSocket | null} */
  socket = null;
  /** @type {import("@icp-sdk/core/agent").Identity | null} */
  identity = null;
  /** @type {import("@icp-sdk/core/principal").Principal | null} the gateway's, after the handshake message */
  gateway = null;
  /** @type {number | null} when the canister opened it, ms since 1970 */
  openedAt = null;
  /** @type {number} when the last message arrived, ms since 1970 */
  lastMessageAt = 0;
  /** Bytes that arrived and are not verified yet. */
  backlog = 0;
  /** @type {Promise<unknown>} resolved when all messages that have arrived are processed */
  receiving = Promise.resolve();
  /** The message of the WebSocket's last error event, "" if it had none. */
  errorMessage = "";
  /** Whether this client has sent LEAVING. */
  isLeaving = false;
  /** Whether the hook resynchronize runs, or has failed: the next session calls it again. */
  isResynchronizing = false;
  nonce = crypto.getRandomValues(new BigUint64Array(1))[0];
  incoming = new Incoming();

  /** @param {string} url @param {number} mostUnconfirmed */
  constructor(url, mostUnconfirmed) {
    this.url = url;
    this.outgoing = new Outgoing(mostUnconfirmed);
  }

  /** Whether something can be sent now. */
  get isWritable() {
    return this.socket?.readyState === 1 && !this.isLeaving;
  }

  /** Closes the WebSocket and ignores its further events. */
  abandon(/** @type {number} */ code, /** @type {string} */ reason) {
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.onerror = () => {};
    closeSocket(this.socket, code, reason);
  }
}

/** Closes a WebSocket; a reason is cut to the 123 bytes that a close frame has room for. */
export const closeSocket = (/** @type {WebSocket} */ socket, /** @type {number} */ code, /** @type {string} */ reason) => {
  const bytes = new TextEncoder().encode(reason).subarray(0, 123);
  // a character that was cut in two is left out
  socket.close(code, new TextDecoder().decode(bytes).replace(/�+$/, ""));
  // the package ws would wait for the answer for 30 s, and its process with it
  const { terminate } = /** @type {any} */ (socket);
  if (terminate) /** @type {any} */ (setTimeout(() => terminate.call(socket), CLOSING_MS)).unref?.();
};
