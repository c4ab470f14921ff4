export type Principal = import("@icp-sdk/core/principal").Principal;
export type ClientKeyValue = {
    client_principal: Principal;
    client_nonce: bigint;
};
/**
 * @typedef {import("@icp-sdk/core/principal").Principal} Principal
 * @typedef {{client_principal: Principal, client_nonce: bigint}} ClientKeyValue
 */
/** @param {bigint} nonce @param {Principal} gateway */
export declare const encodeOpen: (nonce: bigint, gateway: Principal) => Uint8Array<ArrayBufferLike>;
/** @param {{client_key: ClientKeyValue, sequence_num: bigint, timestamp: bigint, is_service_message: boolean, content: Uint8Array}} msg */
export declare const encodeMessage: (msg: {
    client_key: ClientKeyValue;
    sequence_num: bigint;
    timestamp: bigint;
    is_service_message: boolean;
    content: Uint8Array;
}) => Uint8Array<ArrayBufferLike>;
/** @param {bigint} number of the canister's last message */
export declare const encodeKeepAlive: (number: bigint) => Uint8Array<ArrayBufferLike>;
/**
 * A service message of the canister: its name and its parts.
 * @param {Uint8Array} content
 * @returns {{name: string, body: any}}
 */
export declare const decodeService: (content: Uint8Array) => {
    name: string;
    body: any;
};
export type Codec = {
    encode: (value: any) => Uint8Array;
    decode: (bytes: Uint8Array) => any;
};
/**
 * @param {{messageType?: any, idlFactory?: (kit: {IDL: any}) => any, codec?: Codec}} options at most one of them
 * @returns {Codec}
 */
export declare const codecOf: ({ messageType, idlFactory, codec }: {
    messageType?: any;
    idlFactory?: (kit: {
        IDL: any;
    }) => any;
    codec?: Codec;
}) => Codec;
