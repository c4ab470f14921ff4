import { Principal } from "@icp-sdk/core/principal";
/**
 * The gateway's first message.
 * @param {Uint8Array} bytes
 */
export declare const readHandshake: (bytes: Uint8Array) => Principal;
/**
 * A message of the canister, as the gateway delivers it.
 * @param {Uint8Array} bytes
 */
export declare const readFrame: (bytes: Uint8Array) => {
    key: string;
    content: Uint8Array<ArrayBufferLike>;
    cert: Uint8Array<ArrayBufferLike>;
    tree: Uint8Array<ArrayBufferLike>;
};
/**
 * What a verified message says.
 * @param {Uint8Array} content
 */
export declare const readContent: (content: Uint8Array) => {
    principal: Uint8Array<ArrayBufferLike>;
    nonce: bigint;
    sequence: bigint;
    timestamp: bigint;
    isService: boolean;
    content: Uint8Array<ArrayBufferLike>;
};
/**
 * A signed call as the message for the gateway.
 * @param {{identity: import("@icp-sdk/core/agent").Identity, canister: Principal, method: string, arg: Uint8Array,
 *   now: number}} call now: ms since 1970
 */
export declare const sealCall: ({ identity, canister, method, arg, now }: {
    identity: import("@icp-sdk/core/agent").Identity;
    canister: Principal;
    method: string;
    arg: Uint8Array;
    now: number;
}) => Promise<{
    bytes: Uint8Array<ArrayBuffer>;
    requestId: import("@icp-sdk/core/agent").RequestId;
}>;
