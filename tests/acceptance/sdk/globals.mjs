// The parts of the web platform that the SDK expects and that older Node versions do not have as globals.
import { webcrypto } from "node:crypto";
import { WebSocket } from "ws";

class ErrorEvent extends Event {
  constructor(type, { error, message } = {}) {
    super(type);
    this.error = error;
    this.message = message ?? String(error?.message ?? "");
  }
}

globalThis.crypto ??= webcrypto;
globalThis.ErrorEvent ??= ErrorEvent;
// Always the one of `ws`: it has code, reason and wasClean of the closing handshake on every Node version.
globalThis.WebSocket = WebSocket;
