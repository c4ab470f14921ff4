export type MoveState = "connecting" | "leaving" | "left" | "relayed" | "opening" | "overlapping" | "moved";
export type MoveStep = "handshake" | "relayed" | "opened" | "failed" | "over";
export type MoveAction = "leave" | "sendOpen" | "overlap" | "retry" | "promote";
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
export declare const MOVE_TABLE: Record<MoveState, Partial<Record<MoveStep, readonly [MoveState, MoveAction | null]>>>;
export declare class Move {
    /** @type {MoveState} */
    state: MoveState;
    /** @type {import("./link.js").Link | null} the connection of the next session */
    link: import("./link.js").Link | null;
    /** Lets the messages of the next session be delivered. */
    finish: () => void;
    /** @type {Promise<void>} resolved when messages of the next session may be delivered */
    over: Promise<void>;
    /** @param {MoveStep} step @returns {MoveAction | null} what to do */
    step(step: MoveStep): MoveAction | null;
}
