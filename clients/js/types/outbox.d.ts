/** The levels, in the order in which they are sent. */
export declare const KEEP_ALIVE = 0;
export declare const RESYNCHRONIZATION = 1;
export declare const APPLICATION = 2;
export type Item = {
    level: number;
    content: Uint8Array;
    /**
     * what the application gave
     */
    value: unknown;
    /**
     * a request of the hook: the hook of the next session asks anew, so it is not kept when it was sent
     */
    isOfHook?: boolean;
    /**
     * called when it is sent
     */
    onSent?: () => void;
    /**
     * called when it is dropped
     */
    onDrop?: () => void;
};
/**
 * @typedef {object} Item
 * @property {number} level
 * @property {Uint8Array} content
 * @property {unknown} value what the application gave
 * @property {boolean} [isOfHook] a request of the hook: the hook of the next session asks anew, so it is not kept when it was sent
 * @property {() => void} [onSent] called when it is sent
 * @property {() => void} [onDrop] called when it is dropped
 */
export declare class Outbox {
    #private;
    maxBytes: number;
    maxMessages: number;
    /** @param {{maxBytes: number, maxMessages: number}} bounds of the application's messages */
    constructor({ maxBytes, maxMessages }: {
        maxBytes: number;
        maxMessages: number;
    });
    /** Bytes that wait. */
    get bytes(): number;
    /** Messages that wait. */
    get length(): number;
    /** Whether there is room for an application's message. An empty outbox takes a message of any length. */
    hasRoom(/** @type {number} */ bytes: number): boolean;
    /** The first level that has an item, or one behind the last. */
    get level(): number;
    /** Whether more than half of the room is used. */
    get isHigh(): boolean;
    /** Adds an item behind those of its level. */
    put(/** @type {Item} */ item: Item): void;
    /** Puts an item back that was taken and not sent. */
    putBack(/** @type {Item} */ item: Item): void;
    /**
     * Takes the first item of the first level that has one.
     * @param {number} level the last level that may be sent now
     * @returns {Item | undefined}
     */
    take(level: number): Item | undefined;
    /** Gives the hook's items the level of the application's, before these: the hook has ended, and is not called again for them. */
    adopt(): void;
    /** Removes an item, if it still waits. */
    remove(/** @type {Item} */ item: Item): void;
    /** Drops all items of a level, which concern a session that has ended. */
    clear(/** @type {number} */ level: number): void;
}
