/** As setTimeout(); a time that no timer can have, such as Infinity, becomes the longest that one can. @param {number} ms @param {() => void} then */
export declare const later: (ms: number, then: () => void) => number;
export declare class Timers {
    #private;
    /** Calls a function later, in place of the timer that has the name. @param {string} name @param {number} ms @param {() => void} then */
    set(name: string, ms: number, then: () => void): void;
    cancel(/** @type {string[]} */ ...names: string[]): void;
    cancelAll(): void;
}
