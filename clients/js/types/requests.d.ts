export type RequestOptions = {
    /**
     * whether a message is the reply; without it the next message is
     */
    matches?: (reply: any) => boolean;
    /**
     * how long to wait, from the call of request(); 60,000, Infinity for ever
     */
    timeoutMs?: number;
    /**
     * ends the wait
     */
    signal?: AbortSignal;
};
export type Pending = {
    matches: (reply: any) => boolean;
    resolve: (reply: any) => void;
    reject: (error: unknown) => void;
    /**
     * whether its message was sent
     */
    wasSent: boolean;
};
/**
 * @typedef {object} Pending
 * @property {(reply: any) => boolean} matches
 * @property {(reply: any) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {boolean} wasSent whether its message was sent
 */
export declare class Requests {
    #private;
    most: number;
    /** @param {number} most at a time */
    constructor(most: number);
    /**
     * Waits for a reply. Rejected with a TypeError for an unknown option, a ClientError for an invalid value.
     * @param {RequestOptions} options
     * @param {(pending: Pending) => () => void} start sends the message; returns a function that withdraws it while it waits
     * @returns {Promise<any>}
     */
    wait(options: RequestOptions, start: (pending: Pending) => () => void): Promise<any>;
    /**
     * Gives a message to the first request that it answers.
     * @param {any} reply
     * @returns {boolean} whether there was one
     */
    claim(reply: any): boolean;
    /**
     * Ends requests that cannot get a reply any more.
     * @param {unknown} error
     * @param {boolean} all also those whose message still waits
     */
    fail(error: unknown, all: boolean): void;
}
