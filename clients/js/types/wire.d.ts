import { Principal } from "@icp-sdk/core/principal";
/**
 * The gateway's first message.
 * @param {Uint8Array} bytes
 */
export declare const readHandshake: (bytes: Uint8Array) => Principal;
/** The last message on a connection. */
export declare const LEAVING: Uint8Array<ArrayBuffer>;
/**
 * A message of the gateway itself; null if it is one of the canister.
 * @param {Uint8Array} bytes
 * @returns {"move" | "relayed" | "unknown" | null}
 */
export declare const readGatewayMessage: (bytes: Uint8Array) => "move" | "relayed" | "unknown" | null;
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
 * The fields of a verified message.
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
 *   now: number, moves?: boolean}} call now: ms since 1970; moves: tell the gateway that this client can move
 */
export declare const sealCall: ({ identity, canister, method, arg, now, moves }: {
    identity: import("@icp-sdk/core/agent").Identity;
    canister: Principal;
    method: string;
    arg: Uint8Array;
    now: number;
    moves?: boolean;
}) => Promise<{
    bytes: Uint8Array<ArrayBuffer>;
    requestId: import("@icp-sdk/core/agent").RequestId;
}>;
