// Messages that wait to be sent: bounded, by level. They get their sequence number when they are sent, so a later
// keep-alive may be sent first.

/** The levels, in the order in which they are sent. */
export const KEEP_ALIVE = 0;
export const RESYNCHRONIZATION = 1;
export const APPLICATION = 2;

/**
 * @typedef {object} Item
 * @property {number} level
 * @property {Uint8Array} content
 * @property {unknown} value what the application gave
 * @property {boolean} [isOfHook] a request of the hook: the hook of the next session asks anew, so it is not kept when it was sent
 * @property {() => void} [onSent] called when it is sent
 * @property {() => void} [onDrop] called when it is dropped
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

  /** Whether more than half of the room is used. */
  get isHigh() {
    return this.#bytes * 2 > this.maxBytes || this.#length * 2 > this.maxMessages;
  }

  /** Adds an item behind those of its level. */
  put(/** @type {Item} */ item) {
    this.#levels[item.level].push(item);
    this.#count(item, 1);
  }

  /** Puts an item back that was taken and not sent. */
  putBack(/** @type {Item} */ item) {
    this.#levels[item.level].unshift(item);
    this.#count(item, 1);
  }

  /**
   * Takes the first item of the first level that has one.
   * @param {number} level the last level that may be sent now
   * @returns {Item | undefined}
   */
  take(level) {
    const items = this.#levels.find((waiting, i) => i <= level && waiting.length > 0);
    const item = items?.shift();
    if (item) this.#count(item, -1);
    return item;
  }

  /** Gives the hook's items the level of the application's, before these: the hook has ended, and is not called again for them. */
  adopt() {
    const adopted = this.#levels[RESYNCHRONIZATION].splice(0);
    for (const item of adopted) item.level = APPLICATION;
    this.#levels[APPLICATION] = [...adopted, ...this.#levels[APPLICATION]];
  }

  /** Removes an item, if it still waits. */
  remove(/** @type {Item} */ item) {
    const at = this.#levels[item.level].indexOf(item);
    if (at < 0) return;
    this.#levels[item.level].splice(at, 1);
    this.#count(item, -1);
  }

  /** Drops all items of a level, which concern a session that has ended. */
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
