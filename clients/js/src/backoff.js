// How long to wait before the next connection: pauses that grow, at random so that many clients do not connect at once.

/**
 * @typedef {object} Pauses
 * @property {number} firstMs the bound of the first pause
 * @property {number} laterMs the bound of the first pause after a failure that says "later"
 * @property {number} mostMs no bound is longer
 * @property {number} stableMs a session that was open for this long makes the pauses short again
 */

/** @type {Pauses} */
export const PAUSES = { firstMs: 1_000, laterMs: 5_000, mostMs: 60_000, stableMs: 10_000 };

/**
 * The pause before an attempt, at least half of its bound: the bound doubles with each failure in a row.
 * @param {number} failures in a row, this one included: from 1
 * @param {import("./close_codes.js").Reconnect} reconnect how the last one ended
 * @param {number} random in [0, 1)
 * @param {Pauses} pauses
 */
export const pauseMs = (failures, reconnect, random, pauses = PAUSES) => {
  const first = reconnect === "again" ? pauses.firstMs : pauses.laterMs;
  const bound = Math.min(pauses.mostMs, first * 2 ** Math.min(failures - 1, 30));
  return (bound / 2) * (1 + random);
};

/**
 * Failures in a row after another one.
 * @param {number} failures before
 * @param {number | null} openMs how long the session was open, null: it was not
 * @param {Pauses} pauses
 */
export const failuresAfter = (failures, openMs, pauses = PAUSES) =>
  openMs !== null && openMs >= pauses.stableMs ? 1 : failures + 1;

/**
 * Whether to connect again.
 * @param {import("./close_codes.js").Reconnect} reconnect of the code or the error
 * @param {boolean} openedBefore whether this socket was ever open
 */
export const connectsAgain = (reconnect, openedBefore) =>
  reconnect === "again" || reconnect === "later" || (reconnect === "if_opened" && openedBefore);
