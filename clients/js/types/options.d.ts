import { Principal } from "@icp-sdk/core/principal";
export type Identity = import("@icp-sdk/core/agent").Identity;
export type CanisterId = import("@icp-sdk/core/principal").Principal;
export type Resynchronization = {
    /**
     * sends before everything that waits
     */
    send: (message: any) => boolean;
    /**
     * the same, with a reply
     */
    request: (message: any, options?: import("./requests.js").RequestOptions) => Promise<any>;
    /**
     * messages that had left and were not acknowledged: each may have been executed or not
     */
    unconfirmed: unknown[];
    /**
     * false: there were more of them than are remembered
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
     * ws:// or wss:// address; of several the next one follows when one fails
     */
    gateway: string | string[];
    canister: string | CanisterId;
    /**
     * address of the gateway's network; mainnet without it. Another network is trusted with its
     * root key
     */
    network?: string;
    /**
     * the network's root key in DER, where it is known
     */
    rootKey?: Uint8Array;
    /**
     * who signs, or a function that is asked before each
     * connection; without it a key is generated that lives as long as the socket
     */
    identity?: Identity | (() => Identity | Promise<Identity>);
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
     * messages that wait leave
     */
    resynchronize?: (session: Resynchronization) => unknown;
    /**
     * false: the first connection is the only one
     */
    reconnect?: boolean;
    /**
     * 60,000
     */
    openTimeoutMs?: number;
    /**
     * without any message for this long a connection is given up, 360,000: more than the
     * canister's acknowledgement interval
     */
    silenceMs?: number;
    /**
     * of messages that wait to leave, 1 MiB
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
     * how fast messages leave: 100 at once, then 20 a second
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
     * told each frame, for inspectors
     */
    trace?: (frame: Traced) => void;
};
/**
 * @typedef {import("@icp-sdk/core/agent").Identity} Identity
 * @typedef {import("@icp-sdk/core/principal").Principal} CanisterId
 */
/**
 * What the hook resynchronize gets.
 * @typedef {object} Resynchronization
 * @property {(message: any) => boolean} send sends before everything that waits
 * @property {(message: any, options?: import("./requests.js").RequestOptions) => Promise<any>} request the same, with a reply
 * @property {unknown[]} unconfirmed messages that had left and were not acknowledged: each may have been executed or not
 * @property {boolean} complete false: there were more of them than are remembered
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
 * @property {string | string[]} gateway ws:// or wss:// address; of several the next one follows when one fails
 * @property {string | CanisterId} canister
 * @property {string} [network] address of the gateway's network; mainnet without it. Another network is trusted with its
 *   root key
 * @property {Uint8Array} [rootKey] the network's root key in DER, where it is known
 * @property {Identity | (() => Identity | Promise<Identity>)} [identity] who signs, or a function that is asked before each
 *   connection; without it a key is generated that lives as long as the socket
 * @property {any} [messageType] Candid type of messages (IDL.Record(...)); without a type they are bytes
 * @property {(kit: {IDL: any}) => any} [idlFactory] the canister's generated interface, in place of messageType
 * @property {import("./candid.js").Codec} [codec] own encoding, in place of messageType
 * @property {(session: Resynchronization) => unknown} [resynchronize] called when a session follows a lost one, before
 *   messages that wait leave
 * @property {boolean} [reconnect] false: the first connection is the only one
 * @property {number} [openTimeoutMs] 60,000
 * @property {number} [silenceMs] without any message for this long a connection is given up, 360,000: more than the
 *   canister's acknowledgement interval
 * @property {number} [maxBufferedBytes] of messages that wait to leave, 1 MiB
 * @property {number} [maxBufferedMessages] 1,000
 * @property {number} [maxMessageBytes] of one message, 2,090,000
 * @property {number} [maxIncomingBytes] that arrived and are not verified yet, 64 MiB
 * @property {Partial<import("./pace.js").Pace>} [pace] how fast messages leave: 100 at once, then 20 a second
 * @property {Partial<import("./backoff.js").Pauses>} [pauses] between connections
 * @property {any} [WebSocket] the class to use
 * @property {typeof fetch} [fetch] the function to use for the root key
 * @property {(frame: Traced) => void} [trace] told each frame, for inspectors
 */
/** @param {Options} options */
export declare const checked: (options: Options) => {
    gateways: string[];
    canister: Principal;
    network: URL;
    rootKey: Uint8Array<ArrayBufferLike> | undefined;
    identity: import("@icp-sdk/core/agent").Identity | (() => Identity | Promise<Identity>) | undefined;
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
    pace: {
        burst: number;
        perSecond: number;
    };
    pauses: {
        firstMs: number;
        laterMs: number;
        mostMs: number;
        stableMs: number;
    };
    WebSocket: any;
    fetch: typeof fetch;
    trace: ((frame: Traced) => void) | undefined;
};
