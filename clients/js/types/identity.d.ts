import { ECDSAKeyIdentity } from "@icp-sdk/core/identity";
/**
 * An identity, if it can call a canister. Throws if it cannot: none, anonymous, or a delegation that has expired or does not permit it.
 * @param {import("@icp-sdk/core/agent").Identity | null | undefined} identity
 * @returns {import("@icp-sdk/core/agent").Identity}
 * @param {import("@icp-sdk/core/principal").Principal} canister
 */
export declare const checkIdentity: (identity: import("@icp-sdk/core/agent").Identity | null | undefined, canister: import("@icp-sdk/core/principal").Principal) => import("@icp-sdk/core/agent").Identity;
/**
 * This browser's own identity: a key that cannot be read out, kept in IndexedDB. The canister sees the same principal
 * after a reload. Two pages with the same identity replace each other's session of a canister: use one per tab, with
 * names of their own, if several may be open.
 * @param {string} [name]
 * @returns {Promise<ECDSAKeyIdentity>}
 */
export declare const keptIdentity: (name?: string) => Promise<ECDSAKeyIdentity>;
