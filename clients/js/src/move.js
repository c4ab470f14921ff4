// A move: the next session opens at another gateway before this one ends, because this gateway stops (docs/protocol.md).

/**
 * @typedef {"connecting" | "leaving" | "left" | "relayed" | "opening" | "overlapping" | "moved"} MoveState
 * @typedef {"handshake" | "relayed" | "opened" | "failed" | "over"} MoveStep
 * @typedef {"leave" | "sendOpen" | "overlap" | "retry" | "promote"} MoveAction
 */

/**
 * State, step: next state and action. A step that is not in a state's row does nothing there.
 *
 * "connecting": this session continues as usual. "leaving" to "relayed": it sends nothing more; "left" and "relayed": the
 * other connection failed meanwhile, and there is another one. "relayed": the calls of this session have ended.
 * "overlapping": both are open, messages of the next session wait.
 * @type {Record<MoveState, Partial<Record<MoveStep, readonly [MoveState, MoveAction | null]>>>}
 */
export const MOVE_TABLE = {
  connecting: { handshake: ["leaving", "leave"], failed: ["connecting", "retry"] },
  leaving: { relayed: ["opening", "sendOpen"], failed: ["left", "retry"] },
  left: { relayed: ["relayed", null], handshake: ["leaving", null], failed: ["left", "retry"] },
  relayed: { handshake: ["opening", "sendOpen"], failed: ["relayed", "retry"] },
  opening: { opened: ["overlapping", "overlap"], failed: ["relayed", "retry"] },
  overlapping: { over: ["moved", "promote"], failed: ["relayed", "retry"] },
  moved: {},
};

export class Move {
  /** @type {MoveState} */
  state = "connecting";
  /** @type {import("./link.js").Link | null} the connection of the next session */
  link = null;
  /** Lets the messages of the next session be delivered. */
  finish = () => {};
  /** @type {Promise<void>} resolved when messages of the next session may be delivered */
  over = new Promise((resolve) => {
    this.finish = resolve;
  });

  /** @param {MoveStep} step @returns {MoveAction | null} what to do */
  step(step) {
    const row = MOVE_TABLE[this.state][step];
    if (!row) return null;
    this.state = row[0];
    return row[1];
  }
}
