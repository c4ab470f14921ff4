// The entry for Node: versions before 22 have no WebSocket, the package ws has one. Required and not imported, so that
// a program that passes its own class needs no package.
import { createRequire } from "node:module";
import { fallback } from "./environment.js";

if (!globalThis.WebSocket) {
  try {
    fallback.WebSocket = createRequire(import.meta.url)("ws").WebSocket;
  } catch {
    // A socket that is made without the option WebSocket says what is missing.
  }
}

export * from "./index.js";
