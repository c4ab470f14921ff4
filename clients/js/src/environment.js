// The WebSocket class to use if the application gives none.

/** @type {{WebSocket: any}} set by node.js on Node versions that have none of their own */
export const fallback = { WebSocket: undefined };

/** @returns {any} */
export const webSocketClass = () => globalThis.WebSocket ?? fallback.WebSocket;
