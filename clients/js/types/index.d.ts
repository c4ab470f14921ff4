export { CLOSE_CODES } from "./close_codes.js";
export { ClientError, ERRORS } from "./errors.js";
export { CanisterSocket } from "./socket.js";
export { CanisterMessageEvent, CanisterCloseEvent, CanisterDisconnectEvent, CanisterErrorEvent, CanisterOpenEvent, StateChangeEvent } from "./events.js";
export { keptIdentity } from "./identity.js";
export { ECDSAKeyIdentity, Ed25519KeyIdentity } from "@icp-sdk/core/identity";
export { IDL } from "@icp-sdk/core/candid";
export { Principal } from "@icp-sdk/core/principal";
