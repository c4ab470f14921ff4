/** @type {{WebSocket: any}} set by node.js on Node versions that have none of their own */
export declare const fallback: {
    WebSocket: any;
};
/** @returns {any} */
export declare const webSocketClass: () => any;
