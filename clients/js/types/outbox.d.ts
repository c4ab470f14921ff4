/** The levels, first to leave first. */
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
     * called when it leaves
     */
    onLeave?: () => void;
    /**
     * called when it is forgotten
     */
    onDrop?: () => void;
};
/**
 * @typedef {object} Item
 * @property {number} level
 * @property {Uint8Array} content
 * @property {unknown} value what the application gave
 * @property {() => void} [onLeave] called when it leaves
 * @property {() => void} [onDrop] called when it is forgotten
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
    /** Whether more than half of the room is taken. */
    get isHigh(): boolean;
    /** Adds an item behind those of its level. */
    put(/** @type {Item} */ item: Item): void;
    /** Puts an item back that was taken and has not left. */
    putBack(/** @type {Item} */ item: Item): void;
    /**
     * Takes the first item of the first level that has one.
     * @param {number} level the last level that may leave
     * @returns {Item | undefined}
     */
    take(level: number): Item | undefined;
    /** Takes an item out, where it still waits. */
    remove(/** @type {Item} */ item: Item): void;
    /** Forgets a level: what concerned a session that has ended. */
    clear(/** @type {number} */ level: number): void;
}
