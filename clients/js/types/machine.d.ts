export type State = "idle" | "connecting" | "opening" | "resynchronizing" | "open" | "waiting" | "closing" | "closed";
export type Step = "connect" | "handshake" | "opened" | "reopened" | "resynchronized" | "lost" | "ended" | "retry" | "close" | "moved";
export type Action = "dial" | "sendOpen" | "resynchronize" | "announce" | "pause" | "hangUp" | "finish";
/**
 * State, step: next state and action. A step that is not in a state's row does nothing there.
 *
 * "lost": the connection has ended and is made again. "ended": it has ended for good.
 * "reopened": opened, and there was a session before. "moved": the next session has taken this one's place.
 * "close": the application wants to end.
 * @type {Record<State, Partial<Record<Step, readonly [State, Action]>>>}
 */
export declare const TABLE: Record<State, Partial<Record<Step, readonly [State, Action]>>>;
/**
 * @param {State} state
 * @param {Step} step
 * @returns {{state: State, action: Action | null}} what follows
 */
export declare const next: (state: State, step: Step) => {
    state: State;
    action: Action | null;
};
/** The last level of the outbox that may be sent in a state: 0 keep-alives, 1 the hook's messages too, 2 the application's too. */
export declare const LAST_SENDABLE_LEVEL: Record<State, number>;
