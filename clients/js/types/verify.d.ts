/** @param {Uint8Array} a @param {Uint8Array} b */
export declare const equal: (a: Uint8Array, b: Uint8Array) => boolean;
export declare class Verifier {
    #private;
    canister: import("@icp-sdk/core/principal").Principal;
    rootKey: Uint8Array<ArrayBufferLike>;
    maxAgeMs: number;
    /**
     * @param {object} options
     * @param {import("@icp-sdk/core/principal").Principal} options.canister
     * @param {Uint8Array} options.rootKey the network's, in DER
     * @param {number} [options.maxAgeMs] of a certificate, and how far it may be ahead
     */
    constructor({ canister, rootKey, maxAgeMs }: {
        canister: import("@icp-sdk/core/principal").Principal;
        rootKey: Uint8Array;
        maxAgeMs?: number;
    });
    /**
     * Throws if a message is not what the canister certifies.
     * @param {{key: string, content: Uint8Array, cert: Uint8Array, tree: Uint8Array}} frame
     * @param {number} arrivedAt ms since 1970
     * @returns {Promise<{root: Uint8Array, ageMs: number, delegated: boolean}>}
     */
    verify({ key, content, cert, tree }: {
        key: string;
        content: Uint8Array;
        cert: Uint8Array;
        tree: Uint8Array;
    }, arrivedAt: number): Promise<{
        root: Uint8Array;
        ageMs: number;
        delegated: boolean;
    }>;
}
