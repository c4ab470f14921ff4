/**
 * The gateway's address for a WebSocket.
 * @param {string} text ws:, wss:, http: or https:
 * @param {string} [page] the page's protocol
 */
export declare const gatewayUrl: (text: string, page?: string) => string;
/**
 * @param {string} text the network's address
 * @param {string} [page] the page's protocol
 */
export declare const networkUrl: (text: string, page?: string) => URL;
/** Whether an address is mainnet's, whose root key is known. */
export declare const isMainnet: (/** @type {URL} */ { hostname }: URL) => boolean;
/**
 * The network's root key: mainnet's is known, any other is read from the network, which is trusted with it.
 * @param {URL} network
 * @param {typeof fetch} fetcher
 * @param {AbortSignal} signal
 * @returns {Promise<Uint8Array>}
 */
export declare const readRootKey: (network: URL, fetcher: typeof fetch, signal: AbortSignal) => Promise<Uint8Array>;
