import { Incoming, Outgoing } from "./sequence.js";
/** How long a gateway may take to answer a close frame. */
export declare const CLOSING_MS = 5000;
export declare class Link {
    url: string;
    outgoing: Outgoing;
    /** @type {WebSocket | null} */
    socket: WebSocket | null;
    /** @type {import("@icp-sdk/core/agent").Identity | null} */
    identity: import("@icp-sdk/core/agent").Identity | null;
    /** @type {import("@icp-sdk/core/principal").Principal | null} the gateway's, after the handshake message */
    gateway: import("@icp-sdk/core/principal").Principal | null;
    /** @type {number | null} when the canister opened it, ms since 1970 */
    openedAt: number | null;
    /** @type {number} when the last message arrived, ms since 1970 */
    lastMessageAt: number;
    /** Bytes that arrived and are not verified yet. */
    backlog: number;
    /** @type {Promise<unknown>} resolved when all messages that have arrived are processed */
    receiving: Promise<unknown>;
    /** The message of the WebSocket's last error event, "" if it had none. */
    errorMessage: string;
    /** Whether this client has sent LEAVING. */
    isLeaving: boolean;
    /** Whether the hook resynchronize runs, or has failed: the next session calls it again. */
    isResynchronizing: boolean;
    nonce: bigint;
    incoming: Incoming;
    /** @param {string} url @param {number} mostUnconfirmed */
    constructor(url: string, mostUnconfirmed: number);
    /** Whether something can be sent now. */
    get isWritable(): boolean;
    /** Closes the WebSocket and ignores its further events. */
    abandon(/** @type {number} */ code: number, /** @type {string} */ reason: string): void;
}
/** Closes a WebSocket; a reason is cut to the 123 bytes that a close frame has room for. */
export declare const closeSocket: (/** @type {WebSocket} */ socket: WebSocket, /** @type {number} */ code: number, /** @type {string} */ reason: string) => void;
