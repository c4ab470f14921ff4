// Messages that wait to leave: bounded, by level. They get their sequence number when they leave, so a keep-alive that
// comes later may go first.

/** The levels, first to leave first. */
export const KEEP_ALIVE = 0;
export const RESYNCHRONIZATION = 1;
export const APPLICATION = 2;

/**
 * @typedef {object} Item
 * @property {number} level
 * @property {Uint8Array} content
 * @property {unknown} value what the application gave
 * @property {() => void} [onLeave] called when it leaves
 * @property {() => void} [onDrop] called when it is forgotten
 */

export class Outbox {
  /** @type {Item[][]} */
  #levels = [[], [], []];
  #bytes = 0;
  #length = 0;

  /** @param {{maxBytes: number, maxMessages: number}} bounds of the application's messages */
  constructor({ maxBytes, maxMessages }) {
    this.maxBytes = maxBytes;
    this.maxMessages = maxMessages;
  }

  /** Bytes that wait. */
  get bytes() {
    return this.#bytes;
  }

  /** Messages that wait. */
  get length() {
    return this.#length;
  }

  /** Whether there is room for an application's message. An empty outbox takes a message of any length. */
  hasRoom(/** @type {number} */ bytes) {
    return this.#length === 0 || (this.#length < this.maxMessages && this.#bytes + bytes <= this.maxBytes);
  }

  /** The first level that has an item, or one behind the last. */
  get level() {
    const level = this.#levels.findIndex((waiting) => waiting.length > 0);
    return level < 0 ? this.#levels.length : level;
  }

  /** Whether more than half of the room is taken. */
  get isHigh() {
    return this.#bytes * 2 > this.maxBytes || this.#length * 2 > this.maxMessages;
  }

  /** Adds an item behind those of its level. */
  put(/** @type {Item} */ item) {
    this.#levels[item.level].push(item);
    this.#count(item, 1);
  }

  /** Puts an item back that was taken and has not left. */
  putBack(/** @type {Item} */ item) {
    this.#levels[item.level].unshift(item);
    this.#count(item, 1);
  }

  /**
   * Takes the first item of the first level that has one.
   * @param {number} level the last level that may leave
   * @returns {Item | undefined}
   */
  take(level) {
    const items = this.#levels.find((waiting, i) => i <= level && waiting.length > 0);
    const item = items?.shift();
    if (item) this.#count(item, -1);
    return item;
  }

  /** Takes an item out, where it still waits. */
  remove(/** @type {Item} */ item) {
    const at = this.#levels[item.level].indexOf(item);
    if (at < 0) return;
    this.#levels[item.level].splice(at, 1);
    this.#count(item, -1);
  }

  /** Forgets a level: what concerned a session that has ended. */
  clear(/** @type {number} */ level) {
    for (const item of this.#levels[level].splice(0)) {
      this.#count(item, -1);
      item.onDrop?.();
    }
  }

  #count(/** @type {Item} */ item, /** @type {number} */ sign) {
    this.#bytes += sign * item.content.length;
    this.#length += sign;
  }
}
