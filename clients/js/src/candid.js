// Candid of the WebSocket CDK, and of the application's messages.
import { IDL } from "@icp-sdk/core/candid";
import { ClientError } from "./errors.js";

const ClientKey = IDL.Record({ client_principal: IDL.Principal, client_nonce: IDL.Nat64 });
const OpenArguments = IDL.Record({ client_nonce: IDL.Nat64, gateway_principal: IDL.Principal });
const MessageArguments = IDL.Record({
  msg: IDL.Record({
    client_key: ClientKey,
    sequence_num: IDL.Nat64,
    timestamp: IDL.Nat64,
    is_service_message: IDL.Bool,
    content: IDL.Vec(IDL.Nat8),
  }),
});
const Numbered = IDL.Record({ last_incoming_sequence_num: IDL.Nat64 });
const ServiceMessage = IDL.Variant({
  OpenMessage: IDL.Record({ client_key: ClientKey }),
  AckMessage: Numbered,
  KeepAliveMessage: Numbered,
  CloseMessage: IDL.Record({
    reason: IDL.Variant({
      WrongSequenceNumber: IDL.Null,
      InvalidServiceMessage: IDL.Null,
      KeepAliveTimeout: IDL.Null,
      ClosedByApplication: IDL.Null,
    }),
  }),
});

/**
 * @typedef {import("@icp-sdk/core/principal").Principal} Principal
 * @typedef {{client_principal: Principal, client_nonce: bigint}} ClientKeyValue
 */

/** @param {bigint} nonce @param {Principal} gateway */
export const encodeOpen = (nonce, gateway) =>
  IDL.encode([OpenArguments], [{ client_nonce: nonce, gateway_principal: gateway }]);

/** @param {{client_key: ClientKeyValue, sequence_num: bigint, timestamp: bigint, is_service_message: boolean, content: Uint8Array}} msg */
export const encodeMessage = (msg) => IDL.encode([MessageArguments, IDL.Opt(IDL.Null)], [{ msg }, []]);

/** @param {bigint} number of the canister's last message */
export const encodeKeepAlive = (number) =>
  IDL.encode([ServiceMessage], [{ KeepAliveMessage: { last_incoming_sequence_num: number } }]);

/**
 * A service message of the canister: its name and its parts.
 * @param {Uint8Array} content
 * @returns {{name: string, body: any}}
 */
export const decodeService = (content) => {
  try {
    const [[name, body]] = Object.entries(/** @type {object} */ (IDL.decode([ServiceMessage], content)[0]));
    return { name, body };
  } catch (error) {
    throw new ClientError("bad-service-message", { cause: error });
  }
};

/**
 * How the application's messages become bytes and back.
 * @typedef {{encode: (value: any) => Uint8Array, decode: (bytes: Uint8Array) => any}} Codec
 */

/** @type {Codec} */
const RAW = {
  encode(value) {
    if (value instanceof ArrayBuffer) return new Uint8Array(value.slice(0));
    if (!ArrayBuffer.isView(value)) throw new TypeError("it is not bytes, and no messageType or idlFactory was given");
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
  },
  decode: (bytes) => bytes,
};

/** @param {any} type @returns {Codec} */
const ofType = (type) => ({
  encode: (value) => IDL.encode([type], [value]),
  decode: (bytes) => IDL.decode([type], bytes)[0],
});

/** The type of messages that a canister's interface names: that of the optional second argument of ws_message. */
const typeOfInterface = (/** @type {(kit: {IDL: any}) => any} */ idlFactory) => {
  /** @type {[string, any][]} */
  const methods = idlFactory({ IDL })._fields;
  const method = methods.find(([name]) => name === "ws_message")?.[1];
  const second = method?.argTypes?.[1];
  if (!second?._type) {
    throw new ClientError("invalid-option", {
      detail: "idlFactory has no ws_message with an optional second argument",
      hint: "Pass the type of messages as the option messageType.",
    });
  }
  return second._type;
};

/** A codec of the application; what it makes has to be bytes. @param {Codec} codec @returns {Codec} */
const checkedCodec = (codec) => ({
  encode(value) {
    const bytes = codec.encode(value);
    // not instanceof: test environments have classes of their own
    if (Object.prototype.toString.call(bytes) !== "[object Uint8Array]") throw new TypeError("codec.encode() returned no Uint8Array");
    return bytes;
  },
  decode: (bytes) => codec.decode(bytes),
});

/**
 * @param {{messageType?: any, idlFactory?: (kit: {IDL: any}) => any, codec?: Codec}} options at most one of them
 * @returns {Codec}
 */
export const codecOf = ({ messageType, idlFactory, codec }) => {
  if (codec) return checkedCodec(codec);
  if (messageType) return ofType(messageType);
  return idlFactory ? ofType(typeOfInterface(idlFactory)) : RAW;
};
