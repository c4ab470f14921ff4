import { Principal } from "@icp-sdk/core/principal";
export type Identity = import("@icp-sdk/core/agent").Identity;
export type CanisterId = import("@icp-sdk/core/principal").Principal;
export type Resynchronization = {
    /**
     * sends before everything that waits, also if the buffer is full. Throws
     * "connection-lost" if this session has ended
     */
    send: (message: any) => boolean;
    /**
     * the same, with a reply
     */
    request: (message: any, options?: import("./requests.js").RequestOptions) => Promise<any>;
    /**
     * messages that were sent and not acknowledged: each may have been executed or not
     */
    unconfirmed: unknown[];
    /**
     * false: there were more of them than are kept
     */
    complete: boolean;
};
export type Traced = {
    direction: "in" | "out";
    /**
     * "handshake", "ws_open", "message" or the name of a service message
     */
    what: string;
    /**
     * of the frame
     */
    bytes: number;
    sequence?: bigint;
    /**
     * the message
     */
    value?: any;
    /**
     * of a call
     */
    requestId?: Uint8Array;
    /**
     * of a canister's message
     */
    key?: string;
    /**
     * of a canister's message, nanoseconds since 1970
     */
    timestamp?: bigint;
    /**
     * what its certificate says
     */
    verified?: {
        root: Uint8Array;
        ageMs: number;
        delegated: boolean;
    };
};
export type Options = {
    /**
     * ws:// or wss:// address, or several: when one fails, the next one is tried
     */
    gateway: string | string[];
    canister: string | CanisterId;
    /**
     * address of the gateway's network; mainnet without it. Another network is trusted with its
     * root key
     */
    network?: string;
    /**
     * the network's root key in DER, if you know it
     */
    rootKey?: Uint8Array;
    /**
     * what signs, or a function that
     * is called before each connection; without it the socket generates a key for itself
     */
    identity?: Identity | Promise<Identity> | (() => Identity | Promise<Identity>);
    /**
     * Candid type of messages (IDL.Record(...)); without a type they are bytes
     */
    messageType?: any;
    /**
     * the canister's generated interface, in place of messageType
     */
    idlFactory?: (kit: {
        IDL: any;
    }) => any;
    /**
     * own encoding, in place of messageType
     */
    codec?: import("./candid.js").Codec;
    /**
     * called when a session follows a lost one, before
     * messages that wait are sent
     */
    resynchronize?: (session: Resynchronization) => unknown;
    /**
     * false: the first connection is the only one
     */
    reconnect?: boolean;
    /**
     * 60,000; in this and the next five, Infinity is no bound
     */
    openTimeoutMs?: number;
    /**
     * a connection without any message for this long is given up, 360,000: more than the
     * canister's acknowledgement interval
     */
    silenceMs?: number;
    /**
     * of messages that wait to be sent, 1 MiB
     */
    maxBufferedBytes?: number;
    /**
     * 1,000
     */
    maxBufferedMessages?: number;
    /**
     * of one message, 2,090,000
     */
    maxMessageBytes?: number;
    /**
     * that arrived and are not verified yet, 64 MiB
     */
    maxIncomingBytes?: number;
    /**
     * how fast messages are sent: 100 at once, then 20 a second
     */
    pace?: Partial<import("./pace.js").Pace>;
    /**
     * between connections
     */
    pauses?: Partial<import("./backoff.js").Pauses>;
    /**
     * the class to use
     */
    WebSocket?: any;
    /**
     * the function to use for the root key
     */
    fetch?: typeof fetch;
    /**
     * called with each frame, for inspectors
     */
    trace?: (frame: Traced) => void;
};
/**
 * The options with their defaults. Throws a TypeError for an unknown option, a ClientError for an invalid value.
 * @param {Options} options
 */
export declare const checked: (options: Options) => {
    gateways: string[];
    canister: Principal;
    network: URL;
    rootKey: Uint8Array<ArrayBufferLike> | undefined;
    identity: import("@icp-sdk/core/agent").Identity | Promise<import("@icp-sdk/core/agent").Identity> | (() => Identity | Promise<Identity>) | undefined;
    codec: import("./candid.js").Codec;
    resynchronize: ((session: Resynchronization) => unknown) | undefined;
    reconnect: boolean;
    openTimeoutMs: number;
    silenceMs: number;
    outbox: {
        maxBytes: number;
        maxMessages: number;
    };
    maxMessageBytes: number;
    maxIncomingBytes: number;
    pace: import("./pace.js").Pace;
    pauses: import("./backoff.js").Pauses;
    WebSocket: any;
    fetch: typeof fetch;
    trace: ((frame: Traced) => void) | undefined;
};
