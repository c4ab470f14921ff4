export type Pace = {
    /**
     * messages that may leave at once
     */
    burst: number;
    /**
     * messages a second after that
     */
    perSecond: number;
};
/**
 * @typedef {object} Pace
 * @property {number} burst messages that may leave at once
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
     * Milliseconds until a message may leave: 0 for now.
     * @param {number} now ms
     */
    waitMs(now: number): number;
    /** A message leaves. */
    take(): void;
}
