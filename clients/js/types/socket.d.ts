import { CanisterCloseEvent, CanisterDisconnectEvent, CanisterErrorEvent, CanisterMessageEvent, CanisterOpenEvent, StateChangeEvent } from "./events.js";
export type State = import("./machine.js").State;
export type Item = import("./outbox.js").Item;
/**
 * @typedef {import("./machine.js").State} State
 * @typedef {import("./outbox.js").Item} Item
 */
/**
 * A WebSocket to a canister that survives its connections: it makes a new one when one ends.
 *
 * Events, each also as a property on<type>: "open", "message", "error", "disconnect", "close", "drain", "statechange".
 */
export declare class CanisterSocket extends EventTarget {
    #private;
    /** @type {Promise<void>} resolved when it is open for the first time, rejected if it closes before */
    opened: Promise<void>;
    /** @type {Promise<CanisterCloseEvent>} resolved when it is closed for good */
    closed: Promise<CanisterCloseEvent>;
    /** @type {((event: CanisterOpenEvent) => void) | null} */
    onopen: ((event: CanisterOpenEvent) => void) | null;
    /** @type {((event: CanisterMessageEvent) => void) | null} */
    onmessage: ((event: CanisterMessageEvent) => void) | null;
    /** @type {((event: CanisterErrorEvent) => void) | null} */
    onerror: ((event: CanisterErrorEvent) => void) | null;
    /** @type {((event: CanisterDisconnectEvent) => void) | null} */
    ondisconnect: ((event: CanisterDisconnectEvent) => void) | null;
    /** @type {((event: CanisterCloseEvent) => void) | null} */
    onclose: ((event: CanisterCloseEvent) => void) | null;
    /** @type {((event: Event) => void) | null} there is room again after send() has returned false */
    ondrain: ((event: Event) => void) | null;
    /** @type {((event: StateChangeEvent) => void) | null} */
    onstatechange: ((event: StateChangeEvent) => void) | null;
    /**
     * Connects at once. Throws a TypeError for an unknown option, a ClientError for an invalid value.
     * @param {import("./options.js").Options} options
     */
    constructor(options: import("./options.js").Options);
    /**
     * @template {keyof import("./events.js").SocketEvents} K
     * @override
     * @param {K} type
     * @param {((event: import("./events.js").SocketEvents[K]) => void) | EventListenerObject | null} listener
     * @param {boolean | AddEventListenerOptions} [options]
     */
    addEventListener<K extends keyof import("./events.js").SocketEvents>(type: K, listener: ((event: import("./events.js").SocketEvents[K]) => void) | EventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
    /** The current state. */
    get state(): import("./machine.js").State;
    /** Bytes of messages that wait: here, and in the WebSocket. */
    get bufferedAmount(): number;
    /** The principal of this client, as the canister sees it; null before the first connection. */
    get principal(): import("@icp-sdk/core/principal").Principal | null;
    /** This session's client key, null while there is none. */
    get clientKey(): {
        client_principal: import("@icp-sdk/core/principal").Principal;
        client_nonce: bigint;
    } | null;
    /**
     * Sends a message, now or when there is a session. Throws if it does not fit its type, is too long, or too many wait.
     * @param {any} message
     * @returns {boolean} false: more than half of the buffer is used; continue at the event "drain"
     */
    send(message: any): boolean;
    /**
     * Sends a message and waits for the reply that the option matches recognises. A reply is no "message" event.
     * Rejected with "connection-lost" if the connection ends after the message was sent.
     * @param {any} message
     * @param {import("./requests.js").RequestOptions} [options]
     * @returns {Promise<any>}
     */
    request(message: any, options?: import("./requests.js").RequestOptions): Promise<any>;
    /** Resolved when no message waits any more: all were sent. */
    flush(): Promise<void>;
    /**
     * Closes for good. Messages that wait are not sent: see flush().
     * @param {number} [code] 1000, or 3000 to 4999
     * @param {string} [reason] at most 123 bytes
     */
    close(code?: number, reason?: string): void;
}
