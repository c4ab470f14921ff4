// Sequence numbers in both directions, and which messages the canister has not acknowledged yet.
import { ClientError } from "./errors.js";

/** Numbers of the canister's messages: from 1, one more with each. */
export class Incoming {
  last = 0n;

  /** Takes the next number, or throws if the number is another one. */
  take(/** @type {bigint} */ number) {
    if (number !== this.last + 1n) {
      throw new ClientError("sequence-gap", { detail: `number ${number} after ${this.last}` });
    }
    this.last = number;
  }
}

/** Numbers of this client's messages, given when they are sent. */
export class Outgoing {
  last = 0n;
  acknowledged = 0n;
  /** Whether unacknowledged values were dropped, the oldest first, because there were too many. */
  forgotten = false;
  /** @type {{number: bigint, value: unknown}[]} */
  #values = [];

  /** @param {number} most how many values are kept */
  constructor(most) {
    this.most = most;
  }

  /** The number of a message that is sent now. */
  take() {
    this.last += 1n;
    return this.last;
  }

  /** Keeps the value of an application's message until the canister acknowledges its number. */
  keep(/** @type {bigint} */ number, /** @type {unknown} */ value) {
    this.#values.push({ number, value });
    if (this.#values.length > this.most) {
      this.#values.shift();
      this.forgotten = true;
    }
  }

  /** The canister has all messages up to a number. */
  acknowledge(/** @type {bigint} */ number) {
    if (number > this.last) {
      throw new ClientError("bad-service-message", { detail: `it acknowledges ${number}, ${this.last} were sent` });
    }
    this.acknowledged = number;
    const first = this.#values.findIndex((kept) => kept.number > number);
    this.#values.splice(0, first < 0 ? this.#values.length : first);
  }

  /** Values that were sent and are not acknowledged, in order. */
  get unconfirmed() {
    return this.#values.map(({ value }) => value);
  }
}
