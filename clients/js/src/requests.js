// Requests that wait for their reply.
import { ClientError } from "./errors.js";
import { checkNames } from "./option_names.js";
import { later } from "./timers.js";

/**
 * @typedef {object} RequestOptions
 * @property {(reply: any) => boolean} [matches] whether a message is the reply; without it the next message is
 * @property {number} [timeoutMs] how long to wait, from the call of request(); 60,000, Infinity for ever
 * @property {AbortSignal} [signal] ends the wait
 */

/** @type {Record<keyof RequestOptions, true>} */
const NAMES = { matches: true, timeoutMs: true, signal: true };

/**
 * @typedef {object} Pending
 * @property {(reply: any) => boolean} matches
 * @property {(reply: any) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {boolean} wasSent whether its message was sent
 */

export class Requests {
  /** @type {Set<Pending>} */
  #pending = new Set();

  /** @param {number} most at a time */
  constructor(most) {
    this.most = most;
  }

  /**
   * Waits for a reply. Rejected with a TypeError for an unknown option, a ClientError for an invalid value.
   * @param {RequestOptions} options
   * @param {(pending: Pending) => () => void} start sends the message; returns a function that withdraws it while it waits
   * @returns {Promise<any>}
   */
  wait(options, start) {
    return new Promise((resolve, reject) => {
      checkNames(options, NAMES);
      const { matches = () => true, timeoutMs = 60_000, signal } = options;
      // what is left until a deadline may be less than nothing
      if (typeof timeoutMs !== "number" || Number.isNaN(timeoutMs)) {
        throw new ClientError("invalid-option", { detail: `timeoutMs is not a number: ${timeoutMs}` });
      }
      if (this.#pending.size >= this.most) throw new ClientError("too-many-requests");
      signal?.throwIfAborted();
      const end = (/** @type {(value: any) => void} */ settle) => (/** @type {any} */ value) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        this.#pending.delete(pending);
        settle(value);
      };
      /** @type {Pending} */
      const pending = { matches, resolve: end(resolve), reject: end(reject), wasSent: false };
      const withdraw = start(pending);
      this.#pending.add(pending);
      const giveUp = (/** @type {unknown} */ error) => {
        withdraw();
        pending.reject(error);
      };
      const aborted = () => giveUp(signal?.reason);
      const timer = later(timeoutMs, () => giveUp(new ClientError("request-timeout", { detail: `${timeoutMs} ms` })));
      signal?.addEventListener("abort", aborted);
    });
  }

  /**
   * Gives a message to the first request that it answers.
   * @param {any} reply
   * @returns {boolean} whether there was one
   */
  claim(reply) {
    for (const pending of this.#pending) {
      if (!pending.wasSent) continue;
      let matched;
      try {
        matched = pending.matches(reply);
      } catch (error) {
        pending.reject(error);
        continue;
      }
      if (matched) {
        pending.resolve(reply);
        return true;
      }
    }
    return false;
  }

  /**
   * Ends requests that cannot get a reply any more.
   * @param {unknown} error
   * @param {boolean} all also those whose message still waits
   */
  fail(error, all) {
    for (const pending of [...this.#pending]) {
      if (all || pending.wasSent) pending.reject(error);
    }
  }
}
