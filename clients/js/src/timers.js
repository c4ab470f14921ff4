// Timers by name, of any length.

/** A longer one would end at once. */
const LONGEST_MS = 2 ** 31 - 1;

/** As setTimeout(); a time that no timer can have, such as Infinity, becomes the longest that one can. @param {number} ms @param {() => void} then */
export const later = (ms, then) => setTimeout(then, Math.min(ms, LONGEST_MS));

export class Timers {
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #running = new Map();

  /** Calls a function later, in place of the timer that has the name. @param {string} name @param {number} ms @param {() => void} then */
  set(name, ms, then) {
    this.cancel(name);
    this.#running.set(name, later(ms, then));
  }

  cancel(/** @type {string[]} */ ...names) {
    for (const name of names) {
      clearTimeout(this.#running.get(name));
      this.#running.delete(name);
    }
  }

  cancelAll() {
    this.cancel(...this.#running.keys());
  }
}
