/**
 * One kind of failure: a message for people, a hint for the developer, whether to connect again.
 * @type {Record<string, {message: string, hint: string, reconnect: import("./close_codes.js").Reconnect}>}
 */
export declare const ERRORS: Record<string, {
    message: string;
    hint: string;
    reconnect: import("./close_codes.js").Reconnect;
}>;
/** A failure by name. */
export declare class ClientError extends Error {
    /** Which failure: a key of ERRORS. */
    code: string;
    /** What to do about it. */
    hint: string;
    /** Whether the client connects again after it. */
    reconnect: import("./close_codes.js").Reconnect;
    /** The WebSocket close code, if there was one. */
    closeCode: number | undefined;
    /** The gateway's or the canister's reason, if it gave one. */
    reason: string | undefined;
    /** The bytes of a message that could not be decoded. */
    data: Uint8Array<ArrayBufferLike> | undefined;
    /**
     * @param {string} code one of ERRORS
     * @param {{detail?: string, hint?: string, cause?: unknown, closeCode?: number, reason?: string,
     *   reconnect?: import("./close_codes.js").Reconnect, data?: Uint8Array}} [more]
     */
    constructor(code: string, more?: {
        detail?: string;
        hint?: string;
        cause?: unknown;
        closeCode?: number;
        reason?: string;
        reconnect?: import("./close_codes.js").Reconnect;
        data?: Uint8Array;
    });
}
/** What to do about the network's error code in a reason. @returns {string | undefined} */
export declare const rejectHint: (/** @type {string} */ reason: string) => string | undefined;
/** The message of a thrown value, in one line: some libraries add a stack trace, `fetch` has the reason in its cause. */
export declare const messageOf: (/** @type {unknown} */ thrown: unknown) => string;
/**
 * A thrown value as a ClientError.
 * @param {unknown} error @param {string} code of the new error, if it is not a ClientError
 */
export declare const asClientError: (error: unknown, code: string) => ClientError;
