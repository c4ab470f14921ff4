// What a CanisterSocket dispatches.

/** The session is open: messages are sent. Type "open". */
export class CanisterOpenEvent extends Event {
  /** @param {boolean} resumed @param {import("@icp-sdk/core/principal").Principal} gateway @param {{unconfirmed?: unknown[], complete?: boolean}} [before] */
  constructor(resumed, gateway, { unconfirmed = [], complete = true } = {}) {
    super("open");
    /** Whether there was a session of this socket before. */
    this.resumed = resumed;
    /** The gateway's principal. */
    this.gateway = gateway;
    /** Messages of the session before that were sent and not acknowledged, in order: the canister may have executed them or not. */
    this.unconfirmed = unconfirmed;
    /** Whether `unconfirmed` has all of them: the last 1,000 are kept. */
    this.complete = complete;
  }
}

/** A verified message of the canister. Type "message". */
export class CanisterMessageEvent extends Event {
  /** @param {any} data @param {bigint} sequence @param {bigint} timestamp */
  constructor(data, sequence, timestamp) {
    super("message");
    /** The message: a value of the type of messages, or a Uint8Array. */
    this.data = data;
    /** Its number in this session, from 1; service messages count too. */
    this.sequence = sequence;
    /** The canister's time, nanoseconds since 1970. */
    this.timestamp = timestamp;
  }
}

/** Something has failed; the socket's `state` says what it does now, such as "open" or "waiting". Type "error". */
export class CanisterErrorEvent extends Event {
  /** @param {import("./errors.js").ClientError} error */
  constructor(error) {
    super("error");
    this.error = error;
  }
}

/** A connection ended. Type "disconnect". */
export class CanisterDisconnectEvent extends Event {
  /** @param {{code: number, reason: string, error: import("./errors.js").ClientError | null, pauseMs: number | null}} facts */
  constructor({ code, reason, error, pauseMs }) {
    super("disconnect");
    /** The close code: the gateway's, or 4000 if this client gave up. */
    this.code = code;
    this.reason = reason;
    this.error = error;
    /** Milliseconds until the next attempt, null: there is none. */
    this.pauseMs = pauseMs;
  }
}

/** The socket is closed for good. Type "close". */
export class CanisterCloseEvent extends Event {
  /** @param {{code: number, reason: string, error: import("./errors.js").ClientError | null, unsent: unknown[], unconfirmed?: unknown[], complete?: boolean}} facts */
  constructor({ code, reason, error, unsent, unconfirmed = [], complete = true }) {
    super("close");
    this.code = code;
    this.reason = reason;
    /** Why, null if the application or the gateway closed normally. */
    this.error = error;
    /** Messages that waited and were not sent, in order. */
    this.unsent = unsent;
    /** Messages that were sent and not acknowledged, in order: the canister may have executed them or not. */
    this.unconfirmed = unconfirmed;
    /** Whether `unconfirmed` has all of them: the last 1,000 are kept. */
    this.complete = complete;
  }
}

/** `state` has changed. Type "statechange". */
export class StateChangeEvent extends Event {
  /** @param {import("./machine.js").State} state @param {import("./machine.js").State} before */
  constructor(state, before) {
    super("statechange");
    this.state = state;
    this.before = before;
  }
}

/**
 * @typedef {object} SocketEvents
 * @property {CanisterOpenEvent} open
 * @property {CanisterMessageEvent} message
 * @property {CanisterErrorEvent} error
 * @property {CanisterDisconnectEvent} disconnect
 * @property {CanisterCloseEvent} close
 * @property {StateChangeEvent} statechange
 * @property {Event} drain
 */
