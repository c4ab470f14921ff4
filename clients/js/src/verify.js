// Verifies that a message is the canister's: certificate, witness and content.
import { Cbor, Certificate, LookupPathStatus, blsVerify, hashValue, lookup_path, reconstruct } from "@icp-sdk/core/agent";
import { ClientError, asClientError } from "./errors.js";

/** Verified signatures and certificates that are cached: the messages of a poll share one of each. */
const CACHE_SIZE = 8;

/** @param {Uint8Array} a @param {Uint8Array} b */
export const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

/**
 * The value at a path, or undefined if the tree does not contain it.
 * @param {any} tree @param {(string | Uint8Array)[]} path
 */
const valueAt = (tree, path) => {
  const found = lookup_path(path, tree);
  return found.status === LookupPathStatus.Found ? found.value : undefined;
};

/** Milliseconds since 1970 of a certificate's time, an unsigned LEB128 number of nanoseconds. */
const milliseconds = (/** @type {Uint8Array} */ leb128) =>
  Number(leb128.reduceRight((number, byte) => (number << 7n) | BigInt(byte & 0x7f), 0n) / 1_000_000n);

/** The last few results by their inputs' bytes. */
class Cache {
  /** @type {{key: Uint8Array[], value: any}[]} */
  #entries = [];

  get(/** @type {Uint8Array[]} */ ...key) {
    return this.#entries.find((entry) => entry.key.every((part, i) => equal(part, key[i])))?.value;
  }

  put(/** @type {any} */ value, /** @type {Uint8Array[]} */ ...key) {
    this.#entries.unshift({ key, value });
    this.#entries.length = Math.min(this.#entries.length, CACHE_SIZE);
    return value;
  }
}

export class Verifier {
  #certificates = new Cache();
  #trees = new Cache();
  #signatures = new Cache();

  /**
   * @param {object} options
   * @param {import("@icp-sdk/core/principal").Principal} options.canister
   * @param {Uint8Array} options.rootKey the network's, in DER
   * @param {number} [options.maxAgeMs] of a certificate, and how far it may be ahead
   */
  constructor({ canister, rootKey, maxAgeMs = 300_000 }) {
    this.canister = canister;
    this.rootKey = rootKey;
    this.maxAgeMs = maxAgeMs;
  }

  /**
   * Throws if a message is not what the canister certifies.
   * @param {{key: string, content: Uint8Array, cert: Uint8Array, tree: Uint8Array}} frame
   * @param {number} arrivedAt ms since 1970
   * @returns {Promise<{root: Uint8Array, ageMs: number, delegated: boolean}>}
   */
  async verify({ key, content, cert, tree }, arrivedAt) {
    const witness = await this.#witness(tree);
    const leaf = valueAt(witness.tree, ["websocket", key]);
    if (!leaf || !equal(leaf, hashValue(content))) {
      throw new ClientError("witness-mismatch", { detail: `the tree does not hold the content of ${key}` });
    }
    const certificate = this.#certificates.get(cert) ?? this.#certificates.put(await this.#certificate(cert), cert);
    if (!certificate.certified || !equal(certificate.certified, witness.root)) {
      throw new ClientError("witness-mismatch", { detail: `the tree of ${key} is not certified` });
    }
    const ageMs = arrivedAt - certificate.time;
    if (Math.abs(ageMs) > this.maxAgeMs) {
      const seconds = Math.round(Math.abs(ageMs) / 1000);
      throw new ClientError("certificate-age", { detail: `${seconds} s ${ageMs > 0 ? "old" : "ahead of this device's clock"}` });
    }
    return { root: witness.root, ageMs, delegated: certificate.delegated };
  }

  /** @param {Uint8Array} bytes @returns {Promise<{tree: any, root: Uint8Array}>} */
  async #witness(bytes) {
    const known = this.#trees.get(bytes);
    if (known) return known;
    try {
      const tree = Cbor.decode(bytes);
      return this.#trees.put({ tree, root: await reconstruct(/** @type {any} */ (tree)) }, bytes);
    } catch (error) {
      throw asClientError(error, "witness-mismatch");
    }
  }

  async #certificate(/** @type {Uint8Array} */ bytes) {
    try {
      const { cert } = await Certificate.create({
        certificate: bytes,
        rootKey: this.rootKey,
        principal: { canisterId: this.canister },
        // The age counts from a message's arrival: waiting for verification adds nothing.
        disableTimeVerification: true,
        blsVerify: (publicKey, signature, message) => this.#bls(publicKey, signature, message),
      });
      const time = valueAt(cert.tree, ["time"]);
      if (!time) throw new Error("it has no time");
      const certified = valueAt(cert.tree, ["canister", this.canister.toUint8Array(), "certified_data"]);
      return { certified, time: milliseconds(time), delegated: cert.delegation !== undefined };
    } catch (error) {
      throw asClientError(error, "certificate-invalid");
    }
  }

  // The delegation's signature is the same for minutes or days.
  #bls(/** @type {Uint8Array} */ publicKey, /** @type {Uint8Array} */ signature, /** @type {Uint8Array} */ message) {
    if (this.#signatures.get(publicKey, signature, message)) return true;
    return blsVerify(publicKey, signature, message) && this.#signatures.put(true, publicKey, signature, message);
  }
}
