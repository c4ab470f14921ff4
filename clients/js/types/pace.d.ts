export type Pace = {
    /**
     * messages that may be sent at once
     */
    burst: number;
    /**
     * messages a second after that
     */
    perSecond: number;
};
/**
 * @typedef {object} Pace
 * @property {number} burst messages that may be sent at once
 * @property {number} perSecond messages a second after that
 */
/** @type {Pace} */
export declare const PACE: Pace;
export declare class Bucket {
    #private;
    burst: number;
    perSecond: number;
    /** @param {Pace} pace @param {number} now ms */
    constructor({ burst, perSecond }: Pace, now: number);
    /**
     * Milliseconds until a message may be sent: 0 for now.
     * @param {number} now ms
     */
    waitMs(now: number): number;
    /** A message is sent. */
    take(): void;
}
