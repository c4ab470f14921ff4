// How fast messages are sent: a token bucket. TCP and the gateway hide thousands of messages before a WebSocket's
// bufferedAmount grows, and a keep-alive cannot overtake what was sent.

/**
 * @typedef {object} Pace
 * @property {number} burst messages that may be sent at once
 * @property {number} perSecond messages a second after that
 */

/** @type {Pace} */
export const PACE = { burst: 100, perSecond: 20 };

export class Bucket {
  #tokens;
  #at;

  /** @param {Pace} pace @param {number} now ms */
  constructor({ burst, perSecond }, now) {
    this.burst = burst;
    this.perSecond = perSecond;
    this.#tokens = burst;
    this.#at = now;
  }

  /**
   * Milliseconds until a message may be sent: 0 for now.
   * @param {number} now ms
   */
  waitMs(now) {
    // a clock that was set back adds no tokens and removes none
    this.#tokens = Math.min(this.burst, this.#tokens + (Math.max(0, now - this.#at) * this.perSecond) / 1000);
    this.#at = now;
    return this.#tokens >= 1 ? 0 : Math.ceil(((1 - this.#tokens) * 1000) / this.perSecond - 1e-6);
  }

  /** A message is sent. */
  take() {
    this.#tokens -= 1;
  }
}
