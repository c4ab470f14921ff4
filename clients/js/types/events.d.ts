/** The session is open: messages are sent. Type "open". */
export declare class CanisterOpenEvent extends Event {
    /** Whether there was a session of this socket before. */
    resumed: boolean;
    /** The gateway's principal. */
    gateway: import("@icp-sdk/core/principal").Principal;
    /** Messages of the session before that were sent and not acknowledged, in order: the canister may have executed them or not. */
    unconfirmed: unknown[];
    /** Whether `unconfirmed` has all of them: the last 1,000 are kept. */
    complete: boolean;
    /** @param {boolean} resumed @param {import("@icp-sdk/core/principal").Principal} gateway @param {{unconfirmed?: unknown[], complete?: boolean}} [before] */
    constructor(resumed: boolean, gateway: import("@icp-sdk/core/principal").Principal, { unconfirmed, complete }?: {
        unconfirmed?: unknown[];
        complete?: boolean;
    });
}
/** A verified message of the canister. Type "message". */
export declare class CanisterMessageEvent extends Event {
    /** The message: a value of the type of messages, or a Uint8Array. */
    data: any;
    /** Its number in this session, from 1; service messages count too. */
    sequence: bigint;
    /** The canister's time, nanoseconds since 1970. */
    timestamp: bigint;
    /** @param {any} data @param {bigint} sequence @param {bigint} timestamp */
    constructor(data: any, sequence: bigint, timestamp: bigint);
}
/** Something has failed; the socket's `state` says what it does now, such as "open" or "waiting". Type "error". */
export declare class CanisterErrorEvent extends Event {
    error: import("./errors.js").ClientError;
    /** @param {import("./errors.js").ClientError} error */
    constructor(error: import("./errors.js").ClientError);
}
/** A connection ended. Type "disconnect". */
export declare class CanisterDisconnectEvent extends Event {
    /** The close code: the gateway's, or 4000 if this client gave up. */
    code: number;
    reason: string;
    error: import("./errors.js").ClientError | null;
    /** Milliseconds until the next attempt, null: there is none. */
    pauseMs: number | null;
    /** @param {{code: number, reason: string, error: import("./errors.js").ClientError | null, pauseMs: number | null}} facts */
    constructor({ code, reason, error, pauseMs }: {
        code: number;
        reason: string;
        error: import("./errors.js").ClientError | null;
        pauseMs: number | null;
    });
}
/** The socket is closed for good. Type "close". */
export declare class CanisterCloseEvent extends Event {
    code: number;
    reason: string;
    /** Why, null if the application or the gateway closed normally. */
    error: import("./errors.js").ClientError | null;
    /** Messages that waited and were not sent, in order. */
    unsent: unknown[];
    /** Messages that were sent and not acknowledged, in order: the canister may have executed them or not. */
    unconfirmed: unknown[];
    /** Whether `unconfirmed` has all of them: the last 1,000 are kept. */
    complete: boolean;
    /** @param {{code: number, reason: string, error: import("./errors.js").ClientError | null, unsent: unknown[], unconfirmed?: unknown[], complete?: boolean}} facts */
    constructor({ code, reason, error, unsent, unconfirmed, complete }: {
        code: number;
        reason: string;
        error: import("./errors.js").ClientError | null;
        unsent: unknown[];
        unconfirmed?: unknown[];
        complete?: boolean;
    });
}
/** `state` has changed. Type "statechange". */
export declare class StateChangeEvent extends Event {
    state: import("./machine.js").State;
    before: import("./machine.js").State;
    /** @param {import("./machine.js").State} state @param {import("./machine.js").State} before */
    constructor(state: import("./machine.js").State, before: import("./machine.js").State);
}
export type SocketEvents = {
    open: CanisterOpenEvent;
    message: CanisterMessageEvent;
    error: CanisterErrorEvent;
    disconnect: CanisterDisconnectEvent;
    close: CanisterCloseEvent;
    statechange: StateChangeEvent;
    drain: Event;
};
/**
 * @typedef {object} SocketEvents
 * @property {CanisterOpenEvent} open
 * @property {CanisterMessageEvent} message
 * @property {CanisterErrorEvent} error
 * @property {CanisterDisconnectEvent} disconnect
 * @property {CanisterCloseEvent} close
 * @property {StateChangeEvent} statechange
 * @property {Event} drain
 */
