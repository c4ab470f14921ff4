export type Pauses = {
    /**
     * the bound of the first pause
     */
    firstMs: number;
    /**
     * the bound of the first pause after a failure that says "later"
     */
    laterMs: number;
    /**
     * no bound is longer
     */
    mostMs: number;
    /**
     * a session that was open for this long makes the pauses short again
     */
    stableMs: number;
};
/**
 * @typedef {object} Pauses
 * @property {number} firstMs the bound of the first pause
 * @property {number} laterMs the bound of the first pause after a failure that says "later"
 * @property {number} mostMs no bound is longer
 * @property {number} stableMs a session that was open for this long makes the pauses short again
 */
/** @type {Pauses} */
export declare const PAUSES: Pauses;
/**
 * The pause before an attempt, at least half of its bound: the bound doubles with each failure in a row.
 * @param {number} failures in a row, this one included: from 1
 * @param {import("./close_codes.js").Reconnect} reconnect how the last one ended
 * @param {number} random in [0, 1)
 * @param {Pauses} pauses
 */
export declare const pauseMs: (failures: number, reconnect: import("./close_codes.js").Reconnect, random: number, pauses?: Pauses) => number;
/**
 * Failures in a row after another one.
 * @param {number} failures before
 * @param {number | null} openMs how long the session was open, null: it was not
 * @param {Pauses} pauses
 */
export declare const failuresAfter: (failures: number, openMs: number | null, pauses?: Pauses) => number;
/**
 * Whether to connect again.
 * @param {import("./close_codes.js").Reconnect} reconnect of the code or the error
 * @param {boolean} openedBefore whether this socket was ever open
 */
export declare const connectsAgain: (reconnect: import("./close_codes.js").Reconnect, openedBefore: boolean) => boolean;
