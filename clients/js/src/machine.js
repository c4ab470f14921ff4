// The states of a socket as a table. The class CanisterSocket performs the actions; nothing else decides.

/**
 * @typedef {"idle" | "connecting" | "opening" | "resynchronizing" | "open" | "waiting" | "closing" | "closed"} State
 * @typedef {"connect" | "handshake" | "opened" | "reopened" | "resynchronized" | "lost" | "ended" | "retry" | "close" | "moved"} Step
 * @typedef {"dial" | "sendOpen" | "resynchronize" | "announce" | "pause" | "hangUp" | "finish"} Action
 */

const ENDS = /** @type {const} */ ({ lost: ["waiting", "pause"], ended: ["closed", "finish"], close: ["closing", "hangUp"] });

/**
 * State, step: next state and action. A step that is not in a state's row does nothing there.
 *
 * "lost": the connection has ended and is made again. "ended": it has ended for good.
 * "reopened": opened, and there was a session before. "moved": the next session has taken this one's place.
 * "close": the application wants to end.
 * @type {Record<State, Partial<Record<Step, readonly [State, Action]>>>}
 */
export const TABLE = {
  idle: { connect: ["connecting", "dial"], close: ["closed", "finish"] },
  connecting: { handshake: ["opening", "sendOpen"], ...ENDS },
  opening: { opened: ["open", "announce"], reopened: ["resynchronizing", "resynchronize"], ...ENDS },
  resynchronizing: { resynchronized: ["open", "announce"], ...ENDS },
  open: { moved: ["resynchronizing", "resynchronize"], ...ENDS },
  waiting: { retry: ["connecting", "dial"], close: ["closed", "finish"] },
  closing: { lost: ["closed", "finish"], ended: ["closed", "finish"] },
  closed: {},
};

/**
 * @param {State} state
 * @param {Step} step
 * @returns {{state: State, action: Action | null}} what follows
 */
export const next = (state, step) => {
  const row = TABLE[state][step];
  return row ? { state: row[0], action: row[1] } : { state, action: null };
};

/** The last level of the outbox that may be sent in a state: 0 keep-alives, 1 the hook's messages too, 2 the application's too. */
export const LAST_SENDABLE_LEVEL = /** @type {Record<State, number>} */ ({
  idle: -1,
  connecting: -1,
  opening: -1,
  resynchronizing: 1,
  open: 2,
  waiting: -1,
  closing: -1,
  closed: -1,
});
