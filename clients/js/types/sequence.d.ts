/** Numbers of the canister's messages: from 1, one more with each. */
export declare class Incoming {
    last: bigint;
    /** Takes the next number, or throws if the number is another one. */
    take(/** @type {bigint} */ number: bigint): void;
}
/** Numbers of this client's messages, given when they are sent. */
export declare class Outgoing {
    #private;
    most: number;
    last: bigint;
    acknowledged: bigint;
    /** Whether unacknowledged values were dropped, the oldest first, because there were too many. */
    forgotten: boolean;
    /** @param {number} most how many values are kept */
    constructor(most: number);
    /** The number of a message that is sent now. */
    take(): bigint;
    /** Keeps the value of an application's message until the canister acknowledges its number. */
    keep(/** @type {bigint} */ number: bigint, /** @type {unknown} */ value: unknown): void;
    /** The canister has all messages up to a number. */
    acknowledge(/** @type {bigint} */ number: bigint): void;
    /** Values that were sent and are not acknowledged, in order. */
    get unconfirmed(): unknown[];
}
