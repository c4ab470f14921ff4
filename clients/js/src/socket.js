// A socket to a canister: performs what the table of machine.js says.
import { Ed25519KeyIdentity } from "@icp-sdk/core/identity";
import { connectsAgain, failuresAfter, pauseMs } from "./backoff.js";
import { decodeService, encodeKeepAlive, encodeMessage, encodeOpen } from "./candid.js";
import { CLOSE_CODES, REJECT_HINTS } from "./close_codes.js";
import { ClientError, asClientError, messageOf, rejectHint } from "./errors.js";
import {
  CanisterCloseEvent,
  CanisterDisconnectEvent,
  CanisterErrorEvent,
  CanisterMessageEvent,
  CanisterOpenEvent,
  StateChangeEvent,
} from "./events.js";
import { checkIdentity } from "./identity.js";
import { CLOSING_MS, Link, closeSocket } from "./link.js";
import { LAST_SENDABLE_LEVEL, next } from "./machine.js";
import { Move } from "./move.js";
import { readRootKey } from "./network.js";
import { checked } from "./options.js";
import { APPLICATION, KEEP_ALIVE, Outbox, RESYNCHRONIZATION } from "./outbox.js";
import { Bucket } from "./pace.js";
import { Requests } from "./requests.js";
import { Timers } from "./timers.js";
import { Verifier, equal } from "./verify.js";
import { LEAVING, readContent, readFrame, readGatewayMessage, readHandshake, sealCall } from "./wire.js";

/** While the WebSocket itself holds more bytes than this, no further message gets its number. */
const HIGH_WATER = 16_384;
const POLL_MS = 20;
const RESYNCHRONIZATION_MS = 60_000;
/** How long messages of this session are received after the next one has opened: the canister may have sent some before. */
const OVERLAP_MS = 1_000;
const MOVE_RETRY_MS = 1_000;
const MOST_UNCONFIRMED = 1_000;
const MOST_REQUESTS = 1_000;

/** Whether the client connects again after the canister's CloseMessage, by its reason. */
const CLOSE_REASONS = /** @type {Record<string, import("./close_codes.js").Reconnect>} */ ({
  ClosedByApplication: "never",
  InvalidServiceMessage: "never",
  KeepAliveTimeout: "again",
  WrongSequenceNumber: "again",
});

/**
 * @typedef {import("./machine.js").State} State
 * @typedef {import("./outbox.js").Item} Item
 */

/**
 * A WebSocket to a canister that survives its connections: it makes a new one when one ends.
 *
 * Events, each also as a property on<type>: "open", "message", "error", "disconnect", "close", "drain", "statechange".
 */
export class CanisterSocket extends EventTarget {
  /** @type {((event: CanisterOpenEvent) => void) | null} */
  onopen = null;
  /** @type {((event: CanisterMessageEvent) => void) | null} */
  onmessage = null;
  /** @type {((event: CanisterErrorEvent) => void) | null} */
  onerror = null;
  /** @type {((event: CanisterDisconnectEvent) => void) | null} */
  ondisconnect = null;
  /** @type {((event: CanisterCloseEvent) => void) | null} */
  onclose = null;
  /** @type {((event: Event) => void) | null} there is room again after send() has returned false */
  ondrain = null;
  /** @type {((event: StateChangeEvent) => void) | null} */
  onstatechange = null;

  #options;
  /** @type {State} */
  #state = "idle";
  /** @type {Link | null} */
  #link = null;
  /** @type {Move | null} the move to the next session, while there is one */
  #move = null;
  #outbox;
  #bucket;
  /** @type {Item | null} the message of the application or of the hook that is being signed */
  #signing = null;
  #requests = new Requests(MOST_REQUESTS);
  /** @type {Verifier | null} */
  #verifier = null;
  /** @type {import("@icp-sdk/core/agent").Identity | null} */
  #generated = null;
  /** @type {unknown[]} */
  #unconfirmed = [];
  #complete = true;
  /** What the event "open" says of them. */
  #sessionBefore = { unconfirmed: /** @type {unknown[]} */ ([]), complete: true };
  #attempts = 0;
  #failures = 0;
  #wasOpen = false;
  #pumping = false;
  /** Whether something was queued since the running #pump() last looked. */
  #pumpAgain = false;
  /** Whether the application has added a listener for the event "error". */
  #hasErrorListener = false;
  #wasFull = false;
  #timers = new Timers();
  /** @type {{resolve: () => void, reject: (error: unknown) => void}[]} */
  #flushing = [];
  /** @type {{code: number, reason: string, error: ClientError | null, pauseMs: number | null}} */
  #end = { code: 1000, reason: "", error: null, pauseMs: null };
  /** Ends the work of the connection that is being made. */
  #abort = new AbortController();

  /**
   * Connects at once. Throws a TypeError for an unknown option, a ClientError for an invalid value.
   * @param {import("./options.js").Options} options
   */
  constructor(options) {
    super();
    this.#options = checked(options);
    this.#outbox = new Outbox(this.#options.outbox);
    this.#bucket = new Bucket(this.#options.pace, performance.now());
    /** @type {Promise<void>} resolved when it is open for the first time, rejected if it closes before */
    this.opened = new Promise((resolve, reject) => {
      this.addEventListener("open", () => resolve(), { once: true });
      this.addEventListener("close", () => reject(this.#end.error ?? new ClientError("socket-closed")), { once: true });
    });
    this.opened.catch(() => {});
    /** @type {Promise<CanisterCloseEvent>} resolved when it is closed for good */
    this.closed = new Promise((resolve) => this.addEventListener("close", resolve, { once: true }));
    // when the caller of the constructor has set its handlers
    queueMicrotask(() => this.#step("connect"));
  }

  /**
   * @template {keyof import("./events.js").SocketEvents} K
   * @override
   * @param {K} type
   * @param {((event: import("./events.js").SocketEvents[K]) => void) | EventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    this.#hasErrorListener ||= type === "error";
    super.addEventListener(type, /** @type {EventListenerOrEventListenerObject | null} */ (listener), options);
  }

  /** The current state. */
  get state() {
    return this.#state;
  }

  /** Bytes of messages that wait: here, and in the WebSocket. */
  get bufferedAmount() {
    return this.#outbox.bytes + (this.#link?.socket?.bufferedAmount ?? 0);
  }

  /** The principal of this client, as the canister sees it; null before the first connection. */
  get principal() {
    return this.#link?.identity?.getPrincipal() ?? this.#generated?.getPrincipal() ?? null;
  }

  /** This session's client key, null while there is none. */
  get clientKey() {
    const principal = this.#link?.identity?.getPrincipal();
    return this.#link && principal ? { client_principal: principal, client_nonce: this.#link.nonce } : null;
  }

  /**
   * Sends a message, now or when there is a session. Throws if it does not fit its type, is too long, or too many wait.
   * @param {any} message
   * @returns {boolean} false: more than half of the buffer is used; continue at the event "drain"
   */
  send(message) {
    this.#put(message, APPLICATION);
    return !this.#outbox.isHigh;
  }

  /**
   * Sends a message and waits for the reply that the option matches recognises. A reply is no "message" event.
   * Rejected with "connection-lost" if the connection ends after the message was sent.
   * @param {any} message
   * @param {import("./requests.js").RequestOptions} [options]
   * @returns {Promise<any>}
   */
  request(message, options = {}) {
    return this.#request(message, options, APPLICATION);
  }

  /** Resolved when no message waits any more: all were sent. */
  flush() {
    return /** @type {Promise<void>} */ (
      new Promise((resolve, reject) => {
        this.#flushing.push({ resolve, reject });
        if (this.#state === "closed") this.#endFlushing(new ClientError("socket-closed"));
        else this.#pump();
      })
    );
  }

  /**
   * Closes for good. Messages that wait are not sent: see flush().
   * @param {number} [code] 1000, or 3000 to 4999
   * @param {string} [reason] at most 123 bytes
   */
  close(code = 1000, reason = "") {
    if (code !== 1000 && (code < 3000 || code > 4999)) {
      throw new ClientError("invalid-option", { detail: `code ${code} is neither 1000 nor 3000 to 4999` });
    }
    if (this.#state === "closed" || this.#state === "closing") return;
    this.#end = { code, reason, error: null, pauseMs: null };
    this.#step("close");
  }

  // States.

  /** @param {import("./machine.js").Step} step @param {() => void} [announce] called when the state has changed, before what follows */
  #step(step, announce) {
    const before = this.#state;
    const { state, action } = next(before, step);
    this.#state = state;
    if (state !== before) this.#emit(new StateChangeEvent(state, before));
    announce?.();
    // a handler may have closed the socket: then that step's action has been performed, and this one's is void
    if (action && this.#state === state) this.#perform(action);
  }

  #perform(/** @type {import("./machine.js").Action} */ action) {
    const link = this.#link;
    switch (action) {
      case "dial":
        return this.#dial();
      case "sendOpen":
        return void (link && this.#sendOpen(link).catch((error) => this.#fail(link, error)));
      case "resynchronize":
        return void (link && this.#resynchronize(link));
      case "announce":
        if (link?.gateway) this.#emit(new CanisterOpenEvent(this.#wasOpen, link.gateway, this.#sessionBefore));
        this.#wasOpen = true;
        return this.#pump();
      case "pause":
        return this.#pause();
      case "hangUp":
        return this.#hangUp();
      case "finish":
        return this.#finish();
    }
  }

  #dial() {
    const { gateways, openTimeoutMs } = this.#options;
    const link = new Link(gateways[this.#attempts % gateways.length], MOST_UNCONFIRMED);
    this.#link = link;
    this.#timers.cancel("retry");
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#timers.set("open", openTimeoutMs, () => this.#fail(link, new ClientError("open-timeout")));
    this.#connect(link);
  }

  /** Whether a connection is in use. */
  #uses(/** @type {Link} */ link) {
    return link === this.#link || link === this.#move?.link;
  }

  #connect(/** @type {Link} */ link) {
    const { identity } = this.#options;
    const ready = this.#ready(this.#abort.signal);
    ready.catch((error) => this.#fail(link, asClientError(error, "network-unreachable")));
    const begin = async () => {
      if (!identity) this.#generated ??= Ed25519KeyIdentity.generate();
      const given = await (typeof identity === "function" ? identity() : (identity ?? this.#generated));
      const signer = checkIdentity(given, this.#options.canister);
      if (!this.#uses(link)) return;
      link.identity = signer;
      const socket = this.#makeSocket(link.url);
      link.socket = socket;
      socket.binaryType = "arraybuffer";
      socket.onerror = (/** @type {any} */ event) => {
        link.errorMessage = event.message ?? "";
        // Node 22's own WebSocket dispatches no close event after the error of a connection that was not established
        if (!link.gateway) this.#timers.set(link === this.#link ? "error" : "moveError", 0, () => this.#closed(link, 1006, ""));
      };
      socket.onmessage = (/** @type {MessageEvent} */ { data }) => this.#arrived(link, data, ready);
      socket.onclose = (/** @type {CloseEvent} */ { code, reason }) => {
        // what arrived before the close comes first
        link.receiving = link.receiving.then(() => this.#closed(link, code, reason));
      };
    };
    begin().catch((error) => this.#fail(link, asClientError(error, "signing-failed")));
  }

  #makeSocket(/** @type {string} */ url) {
    try {
      return new this.#options.WebSocket(url);
    } catch (cause) {
      // a page's policy may refuse the address
      throw new ClientError("gateway-unreachable", { detail: `${url}: ${messageOf(cause)}`, cause });
    }
  }

  /** @param {AbortSignal} signal @returns {Promise<Verifier>} */
  async #ready(signal) {
    const { canister, network, rootKey, fetch } = this.#options;
    return (this.#verifier ??= new Verifier({ canister, rootKey: rootKey ?? (await readRootKey(network, fetch, signal)) }));
  }

  async #sendOpen(/** @type {Link} */ link) {
    const { identity, gateway, nonce } = link;
    if (!identity || !gateway) return;
    const sealed = await this.#seal(identity, "ws_open", encodeOpen(nonce, gateway), this.#options.reconnect);
    if (!link.isWritable) return;
    link.socket?.send(sealed.bytes);
    this.#options.trace?.({ direction: "out", what: "ws_open", bytes: sealed.bytes.length, requestId: sealed.requestId });
  }

  /** @param {import("@icp-sdk/core/agent").Identity} identity @param {string} method @param {Uint8Array} arg @param {boolean} [moves] */
  #seal(identity, method, arg, moves) {
    return sealCall({ identity, canister: this.#options.canister, method, arg, now: Date.now(), moves });
  }

  async #resynchronize(/** @type {Link} */ link) {
    const { resynchronize } = this.#options;
    link.isResynchronizing = true;
    try {
      if (resynchronize) {
        await new Promise((resolve, reject) => {
          this.#timers.set("resynchronize", RESYNCHRONIZATION_MS, () => reject(new Error("it has not ended within a minute")));
          Promise.resolve(this.#sessionOf(link)).then(resynchronize).then(resolve, reject);
        });
      }
    } catch (cause) {
      // the end of a connection that is closing says more, and comes by itself
      if (!link.isWritable) return;
      const hint = cause instanceof ClientError ? cause.hint : "";
      this.#fail(link, new ClientError("resynchronize-failed", { detail: messageOf(cause), hint, cause }));
      return;
    }
    if (link !== this.#link) return;
    this.#timers.cancel("resynchronize");
    link.isResynchronizing = false;
    this.#sessionBefore = { unconfirmed: this.#unconfirmed, complete: this.#complete };
    this.#unconfirmed = [];
    this.#complete = true;
    this.#outbox.adopt();
    if (this.#signing) this.#signing.level = APPLICATION;
    this.#step("resynchronized");
  }

  /** What the hook gets. @returns {import("./options.js").Resynchronization} */
  #sessionOf(/** @type {Link} */ link) {
    const level = () => {
      if (link !== this.#link && this.#state !== "closed") throw new ClientError("connection-lost");
      return link.isResynchronizing ? RESYNCHRONIZATION : APPLICATION;
    };
    return {
      send: (message) => (this.#put(message, level()), true),
      request: async (message, options = {}) => this.#request(message, options, level()),
      unconfirmed: [...this.#unconfirmed],
      complete: this.#complete,
    };
  }

  #pause() {
    const go = () => this.#step("retry");
    this.#timers.set("retry", this.#end.pauseMs ?? 0, go);
    this.#abort = new AbortController();
    globalThis.addEventListener?.("online", go, { signal: this.#abort.signal });
  }

  #hangUp() {
    const { code, reason } = this.#end;
    this.#dropMove();
    const socket = this.#link?.socket;
    if (!socket) {
      this.#link = null;
      this.#step("ended");
      return;
    }
    // before closeSocket() cuts the connection
    this.#timers.set("closing", CLOSING_MS, () => {
      if (this.#link) this.#keepUnconfirmed(this.#link, true);
      this.#link = null;
      this.#step("ended");
    });
    closeSocket(socket, code, reason);
  }

  #finish() {
    this.#dropMove();
    this.#link = null;
    this.#abort.abort();
    this.#timers.cancelAll();
    const error = this.#end.error ?? new ClientError("socket-closed");
    this.#requests.fail(error, true);
    this.#endFlushing(error);
    const unsent = this.#signing?.level === APPLICATION ? [this.#signing.value] : [];
    for (let item = this.#outbox.take(APPLICATION); item; item = this.#outbox.take(APPLICATION)) {
      if (item.level === APPLICATION) unsent.push(item.value);
    }
    this.#emit(new CanisterCloseEvent({ ...this.#end, unsent, unconfirmed: [...this.#unconfirmed], complete: this.#complete }));
  }

  // Ends of connections.

  /** This client gives a connection up. */
  #fail(/** @type {Link} */ link, /** @type {unknown} */ thrown) {
    if (link === this.#move?.link) {
      link.abandon(4000, "");
      this.#moveStep("failed");
      return;
    }
    // a connection that is being closed ends with the code that the application gave
    if (link !== this.#link || this.#state === "closing") return;
    const error = asClientError(thrown, "bad-frame");
    // another root key may have come with a new local replica
    if (error.code === "certificate-invalid") this.#verifier = null;
    link.abandon(error.code === "closed-by-canister" ? 4001 : 4000, error.reason ?? error.code);
    this.#lost(link, { code: error.code === "closed-by-canister" ? 4001 : 4000, reason: error.reason ?? error.message, error });
  }

  /** The WebSocket has ended. */
  #closed(/** @type {Link} */ link, /** @type {number} */ code, /** @type {string} */ reason) {
    if (link === this.#move?.link) this.#moveStep("failed");
    if (link !== this.#link) return;
    if (code === 1000) {
      this.#lost(link, { code, reason, error: null });
      return;
    }
    const known = CLOSE_CODES[code];
    const broken = code === 1005 || code === 1006;
    const kind = !broken ? "closed-by-gateway" : link.gateway ? "connection-lost" : "gateway-unreachable";
    const detail = kind === "gateway-unreachable" ? [link.url, link.errorMessage].filter(Boolean).join(": ") : reason || known?.message;
    const error = new ClientError(kind, {
      detail,
      hint: kind === "closed-by-gateway" ? (rejectHint(reason) ?? known?.hint) : "",
      closeCode: code,
      reason,
      reconnect: known?.reconnect ?? "again",
    });
    this.#lost(link, { code, reason, error });
  }

  /** @param {Link} link @param {{code: number, reason: string, error: ClientError | null}} facts */
  #lost(link, { code, reason, error }) {
    const { reconnect, pauses } = this.#options;
    if (this.#move?.state === "overlapping" && this.#state === "open") {
      this.#moveStep("over");
      return;
    }
    this.#dropMove();
    this.#link = null;
    this.#abort.abort();
    this.#timers.cancel("open", "error", "silence", "pump", "closing", "resynchronize");
    if (this.#state === "closing") {
      this.#keepUnconfirmed(link, true);
      // before the handshake message there is no clean end, whatever the application asked for
      if (link.gateway) this.#end = { ...this.#end, code, reason: reason || this.#end.reason };
      this.#step("ended");
      return;
    }
    const after = error?.reconnect ?? "never";
    const again = reconnect && connectsAgain(after, this.#wasOpen);
    this.#keepUnconfirmed(link, !again);
    this.#failures = failuresAfter(this.#failures, link.openedAt === null ? null : Date.now() - link.openedAt, pauses);
    this.#attempts += 1;
    const pause = again ? pauseMs(this.#failures, after, Math.random(), pauses) : null;
    const end = { code, reason, error, pauseMs: pause };
    this.#end = end;
    this.#requests.fail(new ClientError("connection-lost", { cause: error }), false);
    this.#step(again ? "lost" : "ended", () => {
      if (error) this.#report(error);
      this.#emit(new CanisterDisconnectEvent(end));
    });
  }

  /** Keeps messages that were sent and not acknowledged, for the hook resynchronize, or for the event "close" after the last session. */
  #keepUnconfirmed(/** @type {Link} */ link, isLast = false) {
    // a hook that has not ended is called again, with what it got
    if (isLast || !link.isResynchronizing) {
      const all = [...this.#unconfirmed, ...link.outgoing.unconfirmed];
      this.#complete = this.#complete && !link.outgoing.forgotten && all.length <= MOST_UNCONFIRMED;
      this.#unconfirmed = all.slice(-MOST_UNCONFIRMED);
    }
    if (this.#signing?.level === RESYNCHRONIZATION) this.#signing = null;
    this.#outbox.clear(KEEP_ALIVE);
    this.#outbox.clear(RESYNCHRONIZATION);
  }

  // Moves.

  /** The gateway stops: open the next session elsewhere first. */
  #beginMove() {
    if (this.#state !== "open" || this.#move || !this.#options.reconnect) return;
    this.#move = new Move();
    this.#dialNext(this.#move);
  }

  #dialNext(/** @type {Move} */ move) {
    const { gateways, openTimeoutMs } = this.#options;
    this.#attempts += 1;
    const link = new Link(gateways[this.#attempts % gateways.length], MOST_UNCONFIRMED);
    move.link = link;
    this.#timers.set("moveOpen", openTimeoutMs, () => this.#fail(link, new ClientError("open-timeout")));
    this.#connect(link);
  }

  #moveStep(/** @type {import("./move.js").MoveStep} */ step) {
    const move = this.#move;
    const here = this.#link;
    if (!move || !here) return;
    const action = move.step(step);
    const link = move.link;
    // between two attempts there is no connection; messages of the old gateway count nevertheless
    if (!link) return;
    switch (action) {
      case "leave":
        here.socket?.send(LEAVING);
        here.isLeaving = true;
        return;
      case "sendOpen":
        return void this.#sendOpen(link).catch((error) => this.#fail(link, error));
      case "overlap":
        this.#timers.cancel("moveOpen");
        return this.#timers.set("move", OVERLAP_MS, () => {
          // what has arrived comes first
          here.receiving = here.receiving.then(() => this.#moveStep("over"));
        });
      case "retry":
        // a new attempt, with its own queue of messages; those of the failed connection are dropped
        move.link = null;
        return this.#timers.set("move", MOVE_RETRY_MS, () => this.#dialNext(move));
      case "promote":
        return this.#promote(here, link);
    }
  }

  /** The next session takes the place of this one. */
  #promote(/** @type {Link} */ here, /** @type {Link} */ link) {
    here.abandon(1000, "moved to another gateway");
    this.#keepUnconfirmed(here);
    this.#link = link;
    this.#endMove();
    this.#watchSilence(link);
    this.#step("moved");
  }

  #dropMove() {
    this.#move?.link?.abandon(1000, "");
    this.#endMove();
  }

  #endMove() {
    this.#timers.cancel("move", "moveOpen", "moveError");
    this.#move?.finish();
    this.#move = null;
  }

  // What arrives.

  /** @param {Link} link @param {unknown} data @param {Promise<Verifier>} ready */
  #arrived(link, data, ready) {
    if (!(data instanceof ArrayBuffer)) {
      this.#fail(link, new ClientError("bad-frame", { detail: "it is text" }));
      return;
    }
    const bytes = new Uint8Array(data);
    const arrivedAt = Date.now();
    link.lastMessageAt = arrivedAt;
    link.backlog += bytes.length;
    if (link.backlog > this.#options.maxIncomingBytes) {
      this.#fail(link, new ClientError("too-many-incoming", { detail: `${link.backlog} bytes wait` }));
      return;
    }
    link.receiving = link.receiving.then(async () => {
      try {
        // messages of the next session come behind those of this one
        if (link === this.#move?.link && link.openedAt !== null) await this.#move.over;
        if (!this.#uses(link)) return;
        if (!link.gateway) this.#handshake(link, bytes);
        else await this.#receive(link, bytes, arrivedAt, await ready);
      } catch (error) {
        this.#fail(link, error);
      } finally {
        link.backlog -= bytes.length;
      }
    });
  }

  #handshake(/** @type {Link} */ link, /** @type {Uint8Array} */ bytes) {
    link.gateway = readHandshake(bytes);
    this.#options.trace?.({ direction: "in", what: "handshake", bytes: bytes.length, value: link.gateway });
    if (link === this.#link) this.#step("handshake");
    else this.#moveStep("handshake");
  }

  /** @param {Link} link @param {Uint8Array} bytes @param {number} arrivedAt @param {Verifier} verifier */
  async #receive(link, bytes, arrivedAt, verifier) {
    const kind = readGatewayMessage(bytes);
    if (kind) {
      this.#options.trace?.({ direction: "in", what: kind, bytes: bytes.length });
      if (kind === "move") this.#beginMove();
      else if (kind === "relayed" && link === this.#link) this.#moveStep("relayed");
      return;
    }
    const frame = readFrame(bytes);
    const verified = await verifier.verify(frame, arrivedAt);
    if (!this.#uses(link)) return;
    const message = readContent(frame.content);
    const principal = link.identity?.getPrincipal().toUint8Array();
    if (message.nonce !== link.nonce || !principal || !equal(message.principal, principal)) throw new ClientError("not-for-this-client");
    link.incoming.take(message.sequence);
    const facts = { bytes: bytes.length, key: frame.key, sequence: message.sequence, timestamp: message.timestamp, verified };
    if (message.isService) this.#service(link, message.content, facts);
    else this.#message(message, facts);
  }

  /** @param {Link} link @param {Uint8Array} content @param {any} facts */
  #service(link, content, facts) {
    const { name, body } = decodeService(content);
    this.#options.trace?.({ direction: "in", what: name, value: body, ...facts });
    if (name === "OpenMessage") {
      link.openedAt = Date.now();
      if (link === this.#move?.link) {
        this.#moveStep("opened");
        return;
      }
      this.#timers.cancel("open");
      this.#watchSilence(link);
      this.#step(this.#wasOpen ? "reopened" : "opened");
    } else if (name === "AckMessage") {
      link.outgoing.acknowledge(body.last_incoming_sequence_num);
      this.#outbox.clear(KEEP_ALIVE);
      this.#outbox.put({ level: KEEP_ALIVE, content: encodeKeepAlive(link.incoming.last), value: "KeepAliveMessage" });
      this.#pump();
    } else if (name === "CloseMessage") {
      const [reason] = Object.keys(body.reason);
      throw new ClientError("closed-by-canister", { detail: reason, closeCode: 4001, reason, reconnect: CLOSE_REASONS[reason] });
    } else {
      throw new ClientError("bad-service-message", { detail: `${name} is for canisters` });
    }
  }

  /** @param {{content: Uint8Array, sequence: bigint, timestamp: bigint}} message @param {any} facts */
  #message({ content, sequence, timestamp }, facts) {
    let value;
    try {
      value = this.#options.codec.decode(content);
    } catch (cause) {
      this.#options.trace?.({ direction: "in", what: "message", value: content, ...facts });
      this.#report(new ClientError("undecodable-message", { cause, data: content }));
      return;
    }
    this.#options.trace?.({ direction: "in", what: "message", value, ...facts });
    if (!this.#requests.claim(value)) this.#emit(new CanisterMessageEvent(value, sequence, timestamp));
  }

  /** Gives the connection up when no message has arrived for silenceMs. */
  #watchSilence(/** @type {Link} */ link) {
    const left = link.lastMessageAt + this.#options.silenceMs - Date.now();
    if (left <= 0) this.#fail(link, new ClientError("connection-silent"));
    else this.#timers.set("silence", left, () => this.#watchSilence(link));
  }

  // What is sent.

  /** @param {any} message @param {number} level @param {Partial<Item>} [then] @returns {Item} */
  #put(message, level, then = {}) {
    if (this.#state === "closed" || this.#state === "closing") throw new ClientError("socket-closed");
    let content;
    try {
      content = this.#options.codec.encode(message);
    } catch (error) {
      throw asClientError(error, "unencodable-message");
    }
    if (content.length > this.#options.maxMessageBytes) {
      throw new ClientError("message-too-big", { detail: `${content.length} bytes` });
    }
    // the hook's messages are mostly those that were unconfirmed, which are bounded by their number
    if (level === APPLICATION && !this.#outbox.hasRoom(content.length)) {
      this.#wasFull = true;
      throw new ClientError("buffer-full", { detail: `${this.#outbox.length} messages, ${this.#outbox.bytes} bytes` });
    }
    const item = { level, content, value: message, ...then };
    this.#outbox.put(item);
    this.#wasFull ||= this.#outbox.isHigh;
    this.#pump();
    return item;
  }

  /** @param {any} message @param {import("./requests.js").RequestOptions} options @param {number} level */
  #request(message, options, level) {
    return this.#requests.wait(options, (pending) => {
      const item = this.#put(message, level, {
        isOfHook: level === RESYNCHRONIZATION,
        onSent: () => (pending.wasSent = true),
        onDrop: () => pending.reject(new ClientError("connection-lost")),
      });
      return () => this.#outbox.remove(item);
    });
  }

  /** Sends what may be sent, one after the other: signing takes a while, and numbers and frames keep one order. */
  async #pump() {
    this.#pumpAgain = true;
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      // a message that is queued while #sendNext() returns false would otherwise wait for the next one
      while (this.#pumpAgain) {
        this.#pumpAgain = false;
        while (await this.#sendNext());
      }
    } finally {
      this.#pumping = false;
    }
    if (this.#wasFull && !this.#outbox.isHigh) {
      this.#wasFull = false;
      this.#emit(new Event("drain"));
    }
    if (this.#outbox.length > 0) return;
    if (this.#link?.socket?.bufferedAmount) this.#timers.set("pump", POLL_MS, () => this.#pump());
    else this.#endFlushing(null);
  }

  /** @returns {Promise<boolean>} whether there may be more to send now */
  async #sendNext() {
    const link = this.#link;
    if (!link?.identity || !link.socket || !link.isWritable) return false;
    if (link.socket.bufferedAmount > HIGH_WATER) {
      this.#timers.set("pump", POLL_MS, () => this.#pump());
      return false;
    }
    if (this.#outbox.level > LAST_SENDABLE_LEVEL[this.#state]) return false;
    const waitMs = this.#outbox.level === KEEP_ALIVE ? 0 : this.#bucket.waitMs(performance.now());
    if (waitMs > 0) {
      this.#timers.set("pump", waitMs, () => this.#pump());
      return false;
    }
    const item = this.#outbox.take(LAST_SENDABLE_LEVEL[this.#state]);
    if (!item) return false;
    if (item.level !== KEEP_ALIVE) this.#bucket.take();
    this.#signing = item.level === KEEP_ALIVE ? null : item;
    try {
      const sequence = link.outgoing.take();
      const arg = encodeMessage({
        client_key: { client_principal: link.identity.getPrincipal(), client_nonce: link.nonce },
        sequence_num: sequence,
        timestamp: BigInt(Date.now()) * 1_000_000n,
        is_service_message: item.level === KEEP_ALIVE,
        content: item.content,
      });
      const { bytes, requestId } = await this.#seal(link.identity, "ws_message", arg);
      if (link !== this.#link || !link.isWritable) throw new ClientError("connection-lost");
      link.socket.send(bytes);
      if (item.level !== KEEP_ALIVE && !item.isOfHook) link.outgoing.keep(sequence, item.value);
      item.onSent?.();
      const what = item.level === KEEP_ALIVE ? "KeepAliveMessage" : "message";
      this.#options.trace?.({ direction: "out", what, value: item.value, sequence, bytes: bytes.length, requestId });
    } catch (error) {
      // It was not sent: the next session sends it first, unless it concerns this session only.
      const closed = /** @type {State} */ (this.#state) === "closed";
      const over = item.level === KEEP_ALIVE || (item.level === RESYNCHRONIZATION && link !== this.#link);
      if (closed || over) item.onDrop?.();
      else this.#outbox.putBack(item);
      if (link.isWritable) this.#fail(link, asClientError(error, "signing-failed"));
      // a slow signer may have outlived its connection
      return link !== this.#link;
    } finally {
      this.#signing = null;
    }
    return true;
  }

  #endFlushing(/** @type {unknown} */ error) {
    for (const { resolve, reject } of this.#flushing.splice(0)) error ? reject(error) : resolve();
  }

  // Events.

  /** Reports an error to the application, or to the console if the application has no listener. */
  #report(/** @type {ClientError} */ error) {
    if (!this.onerror && !this.#hasErrorListener) console.warn(`icws-client: ${error.message}. ${error.hint}`);
    this.#emit(new CanisterErrorEvent(error));
  }

  #emit(/** @type {Event} */ event) {
    const handler = /** @type {any} */ (this)[`on${event.type}`];
    try {
      handler?.call(this, event);
    } catch (error) {
      // as the platform does with an exception in a listener
      queueMicrotask(() => {
        throw error;
      });
    }
    this.dispatchEvent(event);
  }
}
