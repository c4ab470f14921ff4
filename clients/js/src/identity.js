// Identities that can open a session.
import { ECDSAKeyIdentity, isDelegationValid } from "@icp-sdk/core/identity";
import { ClientError } from "./errors.js";

/**
 * An identity, if it can call a canister. Throws if it cannot: none, anonymous, or a delegation that has expired or does not permit it.
 * @param {import("@icp-sdk/core/agent").Identity | null | undefined} identity
 * @returns {import("@icp-sdk/core/agent").Identity}
 * @param {import("@icp-sdk/core/principal").Principal} canister
 */
export const checkIdentity = (identity, canister) => {
  if (typeof identity?.getPrincipal !== "function") {
    const hint = "Pass an identity of @icp-sdk/core, a promise of one, or a function that returns one.";
    throw new ClientError("identity-unusable", { detail: "the option identity gave none", hint });
  }
  if (identity.getPrincipal().isAnonymous()) throw new ClientError("anonymous-identity");
  const chain = /** @type {any} */ (identity).getDelegation?.();
  if (!chain) return identity;
  if (!isDelegationValid(chain, { scope: [canister] })) throw new ClientError("identity-unusable");
  if (chain.delegations.some((/** @type {any} */ { delegation }) => delegation.permissions === "queries")) {
    throw new ClientError("identity-unusable", { detail: "it permits queries only" });
  }
  return identity;
};

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/**
 * This browser's own identity: a key that cannot be read out, kept in IndexedDB. The canister sees the same principal
 * after a reload. Two pages with the same identity replace each other's session of a canister: use one per tab, with
 * names of their own, if several may be open.
 * @param {string} [name]
 * @returns {Promise<ECDSAKeyIdentity>}
 */
export const keptIdentity = async (name = "default") => {
  const opening = indexedDB.open("icws-client", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("identities");
  const database = await done(opening);
  try {
    const fresh = await ECDSAKeyIdentity.generate();
    // One transaction: two tabs that start at once must not make two keys.
    const table = database.transaction("identities", "readwrite").objectStore("identities");
    const kept = /** @type {CryptoKeyPair | undefined} */ (await done(table.get(name)));
    if (!kept) await done(table.put(fresh.getKeyPair(), name));
    return kept ? await ECDSAKeyIdentity.fromKeyPair(kept) : fresh;
  } finally {
    database.close();
  }
};
