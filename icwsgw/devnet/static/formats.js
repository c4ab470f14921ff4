// The formats of the Internet Computer that a WebSocket client needs, as far as it needs them: SHA-224/256,
// principals, CBOR, Candid, request ids and hash trees. Plain functions, no dependencies; docs/protocol.md has the
// bytes explained. What a library would do besides (BLS signatures of certificates) is left to the JavaScript SDK.

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder("utf-8", { fatal: true });

export const text = (string) => utf8.encode(string);
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
export const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

export const concat = (...parts) => {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
};

const compare = (a, b) => {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
};

// SHA-2 (FIPS 180-4). WebCrypto has no SHA-224, which principals need, and a tree's many small hashes are better
// made at once than each by a promise.

const primes = (() => {
  const found = [];
  for (let n = 2; found.length < 64; n++) if (found.every((p) => n % p)) found.push(n);
  return found;
})();
const fraction = (root) => ((root - Math.floor(root)) * 0x100000000) >>> 0;
const ROUND = Uint32Array.from(primes, (p) => fraction(Math.cbrt(p)));
const START_256 = Uint32Array.from(primes.slice(0, 8), (p) => fraction(Math.sqrt(p)));
const START_224 = Uint32Array.from([
  0xc1059ed8, 0x367cd507, 0x3070dd17, 0xf70e5939, 0xffc00b31, 0x68581511, 0x64f98fa7, 0xbefa4fa4,
]);

const sha2 = (start, data, size) => {
  const padded = new Uint8Array((((data.length + 8) >> 6) + 1) << 6);
  padded.set(data);
  padded[data.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(data.length / 0x20000000));
  view.setUint32(padded.length - 4, data.length << 3);
  const state = start.slice();
  const w = new Uint32Array(64);
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  for (let block = 0; block < padded.length; block += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getUint32(block + 4 * i);
    for (let i = 16; i < 64; i++) {
      const s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >>> 3);
      const s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >>> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUND[i] + w[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => (state[i] += word));
  }
  const digest = new Uint8Array(32);
  state.forEach((word, i) => new DataView(digest.buffer).setUint32(4 * i, word));
  return digest.slice(0, size);
};

export const sha256 = (...parts) => sha2(START_256, concat(...parts), 32);
export const sha224 = (...parts) => sha2(START_224, concat(...parts), 28);

// Principals: base32 of checksum and bytes, in groups of five.

const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";

const crc32 = (bytes) => {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  const checksum = new Uint8Array(4);
  new DataView(checksum.buffer).setUint32(0, ~crc >>> 0);
  return checksum;
};

export const principalText = (bytes) => {
  let out = "";
  let bits = 0;
  let held = 0;
  for (const byte of concat(crc32(bytes), bytes)) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) out += ALPHABET[(held >>> (bits - 5)) & 31];
    held &= 0xff;
  }
  if (bits) out += ALPHABET[(held << (5 - bits)) & 31];
  return out.match(/.{1,5}/g).join("-");
};

export const principalBytes = (string) => {
  const bytes = [];
  let bits = 0;
  let held = 0;
  for (const letter of string.trim().replaceAll("-", "")) {
    const value = ALPHABET.indexOf(letter);
    if (value < 0) throw new Error(`“${string}” is not a principal`);
    held = ((held << 5) | value) & 0xfff;
    if ((bits += 5) >= 8) bytes.push((held >>> (bits -= 8)) & 0xff);
  }
  const raw = Uint8Array.from(bytes.slice(4));
  if (principalText(raw) !== string.trim()) throw new Error(`“${string}” is not a principal`);
  return raw;
};

/** The principal of a public key in DER. */
export const selfAuthenticating = (der) => concat(sha224(der), Uint8Array.of(2));

// CBOR (RFC 8949): maps become objects, byte strings Uint8Array, integers beyond 2^53 bigint.

const SELF_DESCRIBE = Uint8Array.of(0xd9, 0xd9, 0xf7);

const cborHead = (major, number) => {
  const n = BigInt(number);
  const top = major << 5;
  if (n < 24n) return Uint8Array.of(top | Number(n));
  const [mark, size] = n < 0x100n ? [24, 1] : n < 0x10000n ? [25, 2] : n < 0x100000000n ? [26, 4] : [27, 8];
  const out = new Uint8Array(1 + size);
  out[0] = top | mark;
  for (let i = size, rest = n; i > 0; i--, rest >>= 8n) out[i] = Number(rest & 0xffn);
  return out;
};

const cborItem = (value) => {
  if (value instanceof Uint8Array) return concat(cborHead(2, value.length), value);
  if (typeof value === "string") return concat(cborHead(3, text(value).length), text(value));
  if (typeof value === "number" || typeof value === "bigint") return cborHead(0, value);
  if (Array.isArray(value)) return concat(cborHead(4, value.length), ...value.map(cborItem));
  const entries = Object.entries(value);
  return concat(cborHead(5, entries.length), ...entries.flatMap(([key, item]) => [cborItem(key), cborItem(item)]));
};

export const cborEncode = (value) => concat(SELF_DESCRIBE, cborItem(value));

export const cborDecode = (bytes) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (length) => {
    if (at + length > bytes.length) throw new Error("CBOR ends too early");
    at += length;
    return bytes.subarray(at - length, at);
  };
  const argument = (info) => {
    if (info < 24) return info;
    const start = at;
    take(1 << (info - 24));
    if (info === 24) return view.getUint8(start);
    if (info === 25) return view.getUint16(start);
    if (info === 26) return view.getUint32(start);
    const wide = view.getBigUint64(start);
    return wide <= Number.MAX_SAFE_INTEGER ? Number(wide) : wide;
  };
  const item = (depth) => {
    if (depth > 200) throw new Error("CBOR is nested too deeply");
    const first = take(1)[0];
    const [major, info] = [first >> 5, first & 31];
    if (major === 7) {
      if (info < 20 || info > 23) throw new Error("CBOR of an unexpected kind");
      return [false, true, null, undefined][info - 20];
    }
    if (info > 27) throw new Error("CBOR of an unexpected kind");
    const n = argument(info);
    if (major === 0) return n;
    if (major === 1) return typeof n === "bigint" ? -1n - n : -1 - n;
    if (major === 2) return take(n);
    if (major === 3) return fromUtf8.decode(take(n));
    if (major === 4) return Array.from({ length: n }, () => item(depth + 1));
    if (major === 6) return item(depth + 1);
    const map = {};
    for (let i = 0; i < n; i++) {
      const key = item(depth + 1);
      map[key] = item(depth + 1);
    }
    return map;
  };
  const value = item(0);
  if (at !== bytes.length) throw new Error("CBOR with more bytes behind it");
  return value;
};

// Request ids (interface spec, "Representation-independent hashing of structured data").

export const leb128 = (number) => {
  const out = [];
  let rest = BigInt(number);
  do {
    out.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest);
  return Uint8Array.from(out);
};

const unleb128 = (bytes) => bytes.reduceRight((n, byte) => (n << 7n) | BigInt(byte & 0x7f), 0n);

const hashOf = (value) => {
  if (value instanceof Uint8Array) return sha256(value);
  if (typeof value === "string") return sha256(text(value));
  if (Array.isArray(value)) return sha256(...value.map(hashOf));
  return sha256(leb128(value));
};

export const requestId = (content) =>
  sha256(...Object.entries(content).map(([key, value]) => concat(hashOf(key), hashOf(value))).sort(compare));

export const signedByRequest = (id) => concat(Uint8Array.of(10), text("ic-request"), id);

// Hash trees (interface spec, "Certification").

const separator = (name) => concat(Uint8Array.of(name.length), text(name));
const [EMPTY, FORK, LABELED, LEAF] = ["empty", "fork", "labeled", "leaf"].map((kind) => separator(`ic-hashtree-${kind}`));

export const reconstruct = ([kind, first, second]) => {
  if (kind === 0) return sha256(EMPTY);
  if (kind === 1) return sha256(FORK, reconstruct(first), reconstruct(second));
  if (kind === 2) return sha256(LABELED, first, reconstruct(second));
  if (kind === 3) return sha256(LEAF, first);
  if (kind === 4 && first.length === 32) return first;
  throw new Error("this is not a hash tree");
};

const level = (tree) => (tree[0] === 1 ? [...level(tree[1]), ...level(tree[2])] : [tree]);

/** The value at a path of labels, or null where the tree does not show one. */
export const lookup = (tree, path) => {
  if (path.length === 0) return tree[0] === 3 ? tree[1] : null;
  const node = level(tree).find(([kind, label]) => kind === 2 && equal(label, path[0]));
  return node ? lookup(node[2], path.slice(1)) : null;
};

export const certificateTime = (tree) => {
  const value = lookup(tree, [text("time")]);
  return value ? unleb128(value) : null;
};

// Candid (dfinity/candid, spec/Candid.md). Types are written as arrays: ["record", {name: type}], ["opt", type].

const PRIMITIVES = { null: -1, bool: -2, nat64: -8, text: -15, principal: -24 };
const COMPOUND = { opt: -18, vec: -19, record: -20, variant: -21 };
export const BLOB = ["vec", "nat8"];
const NAT8 = -5;

const sleb = (number) => (number >= -64 && number < 64 ? Uint8Array.of(number & 0x7f) : leb128(number));
const fieldId = (name) => text(name).reduce((id, byte) => (Math.imul(id, 223) + byte) >>> 0, 0);
const fieldsOf = (fields) =>
  Object.entries(fields).map(([name, type]) => [fieldId(name), name, type]).sort(([a], [b]) => a - b);

export const candidEncode = (types, values) => {
  const table = [];
  const reference = (type) => {
    if (typeof type === "string") return sleb(type === "nat8" ? NAT8 : PRIMITIVES[type]);
    const [kind, inner] = type;
    const parts =
      kind === "opt" || kind === "vec"
        ? [reference(inner)]
        : [leb128(Object.keys(inner).length), ...fieldsOf(inner).map(([id, , t]) => concat(leb128(id), reference(t)))];
    table.push(concat(sleb(COMPOUND[kind]), ...parts));
    return leb128(table.length - 1);
  };
  const nat64 = (number) => {
    const out = new Uint8Array(8);
    new DataView(out.buffer).setBigUint64(0, BigInt(number), true);
    return out;
  };
  const value = (type, v) => {
    if (type === "null") return new Uint8Array();
    if (type === "bool") return Uint8Array.of(v ? 1 : 0);
    if (type === "nat64") return nat64(v);
    if (type === "text") return concat(leb128(text(v).length), text(v));
    if (type === "principal") return concat(Uint8Array.of(1), leb128(v.length), v);
    const [kind, inner] = type;
    if (type === BLOB) return concat(leb128(v.length), v);
    if (kind === "opt") return v === null ? Uint8Array.of(0) : concat(Uint8Array.of(1), value(inner, v));
    if (kind === "vec") return concat(leb128(v.length), ...v.map((item) => value(inner, item)));
    if (kind === "record") return concat(...fieldsOf(inner).map(([, name, t]) => value(t, v[name])));
    const fields = fieldsOf(inner);
    const tag = fields.findIndex(([, name]) => name in v);
    return concat(leb128(tag), value(fields[tag][2], v[fields[tag][1]]));
  };
  const references = types.map(reference);
  return concat(
    text("DIDL"),
    leb128(table.length),
    ...table,
    leb128(types.length),
    ...references,
    ...types.map((type, i) => value(type, values[i])),
  );
};

/** The values of a message by its own type table; `names` are the field names that may occur. */
export const candidDecode = (bytes, names) => {
  const known = new Map(names.map((name) => [fieldId(name), name]));
  let at = 4;
  if (!equal(bytes.subarray(0, 4), text("DIDL"))) throw new Error("this is not Candid");
  const take = (length) => {
    if (at + length > bytes.length) throw new Error("Candid ends too early");
    at += length;
    return bytes.subarray(at - length, at);
  };
  const number = () => {
    const start = at;
    while (take(1)[0] & 0x80);
    return Number(unleb128(bytes.subarray(start, at)));
  };
  const signed = () => {
    const start = at;
    const n = number();
    return bytes[at - 1] & 0x40 ? n - 2 ** (7 * (at - start)) : n;
  };
  const table = Array.from({ length: number() }, () => {
    const code = signed();
    if (code === COMPOUND.opt || code === COMPOUND.vec) return [code, signed()];
    if (code === COMPOUND.record || code === COMPOUND.variant) {
      return [code, Array.from({ length: number() }, () => [number(), signed()])];
    }
    throw new Error("Candid of an unexpected type");
  });
  const value = (type) => {
    if (type < 0) {
      if (type === PRIMITIVES.null) return null;
      if (type === PRIMITIVES.bool) return take(1)[0] === 1;
      if (type === PRIMITIVES.nat64) {
        const raw = take(8);
        return new DataView(raw.buffer, raw.byteOffset, 8).getBigUint64(0, true);
      }
      if (type === PRIMITIVES.text) return fromUtf8.decode(take(number()));
      if (type === PRIMITIVES.principal && take(1)[0] === 1) return take(number());
      throw new Error("Candid of an unexpected type");
    }
    const [code, inner] = table[type];
    if (code === COMPOUND.opt) return take(1)[0] ? value(inner) : null;
    if (code === COMPOUND.vec) return inner === NAT8 ? take(number()) : Array.from({ length: number() }, () => value(inner));
    const name = (id) => known.get(id) ?? String(id);
    if (code === COMPOUND.record) return Object.fromEntries(inner.map(([id, t]) => [name(id), value(t)]));
    const [id, t] = inner[number()];
    return { [name(id)]: value(t) };
  };
  const types = Array.from({ length: number() }, signed);
  return types.map(value);
};
