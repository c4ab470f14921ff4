export type RequestOptions = {
    /**
     * whether a message is the reply; without it the next message is
     */
    matches?: (reply: any) => boolean;
    /**
     * how long to wait, from the call of request(); 60,000
     */
    timeoutMs?: number;
    /**
     * gives up
     */
    signal?: AbortSignal;
};
export type Pending = {
    matches: (reply: any) => boolean;
    resolve: (reply: any) => void;
    reject: (error: unknown) => void;
    /**
     * whether its message has left
     */
    left: boolean;
};
/**
 * @typedef {object} RequestOptions
 * @property {(reply: any) => boolean} [matches] whether a message is the reply; without it the next message is
 * @property {number} [timeoutMs] how long to wait, from the call of request(); 60,000
 * @property {AbortSignal} [signal] gives up
 */
/**
 * @typedef {object} Pending
 * @property {(reply: any) => boolean} matches
 * @property {(reply: any) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {boolean} left whether its message has left
 */
export declare class Requests {
    #private;
    most: number;
    /** @param {number} most at a time */
    constructor(most: number);
    /**
     * Waits for a reply.
     * @param {RequestOptions} options
     * @param {(pending: Pending) => () => void} start sends the message; returns what takes it back while it waits
     * @returns {Promise<any>}
     */
    wait({ matches, timeoutMs, signal }: RequestOptions, start: (pending: Pending) => () => void): Promise<any>;
    /**
     * Gives a message to the first request that it answers.
     * @param {any} reply
     * @returns {boolean} whether there was one
     */
    claim(reply: any): boolean;
    /**
     * Ends requests that get no reply any more.
     * @param {unknown} error
     * @param {boolean} all also those whose message still waits
     */
    fail(error: unknown, all: boolean): void;
}
