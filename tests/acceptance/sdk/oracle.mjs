// The JavaScript libraries as an oracle: one JSON request a line on stdin, one JSON answer a line on stdout.
// Byte strings travel as hex, integers as decimal strings, principals as their text.
import "./globals.mjs";
import { createInterface } from "node:readline";
import { Cbor, Certificate, Ed25519PublicKey, lookup_path, lookup_subtree, reconstruct, requestIdOf } from "@icp-sdk/core/agent";
import { IDL } from "@icp-sdk/core/candid";
import { Ed25519KeyIdentity } from "@icp-sdk/core/identity";
import { Principal } from "@icp-sdk/core/principal";
import { Certificate as OldCertificate, lookupResultToBuffer, requestIdOf as oldRequestIdOf } from "@dfinity/agent";
import { Principal as OldPrincipal } from "@dfinity/principal";
import { emit, hex, unhex } from "./report.mjs";

/** A type as JSON: "nat64", ["opt", T], ["vec", T], ["record", [[name, T], ...]], ["variant", [[name, T], ...]]. */
const type = (json) => {
  if (typeof json === "string") {
    const names = { blob: IDL.Vec(IDL.Nat8), principal: IDL.Principal };
    return names[json] ?? IDL[json[0].toUpperCase() + json.slice(1)];
  }
  const [kind, inner] = json;
  const fields = () => Object.fromEntries(inner.map(([name, t]) => [name, type(t)]));
  return { opt: () => IDL.Opt(type(inner)), vec: () => IDL.Vec(type(inner)), record: () => IDL.Record(fields()), variant: () => IDL.Variant(fields()) }[kind]();
};

const whole = /^(nat|int)/;
const small = /^(nat|int)(8|16|32)$/;

/** A JSON value as the JavaScript value of its type. */
const fromJson = (t, v) => {
  if (typeof t === "string") {
    if (t === "blob") return unhex(v);
    if (t === "principal") return Principal.fromText(v);
    if (small.test(t)) return Number(v);
    if (whole.test(t)) return BigInt(v);
    return v;
  }
  const [kind, inner] = t;
  if (kind === "opt") return v === null ? [] : [fromJson(inner, v[0])];
  if (kind === "vec") return v.map((item) => fromJson(inner, item));
  if (kind === "record") return Object.fromEntries(inner.map(([name, ft]) => [name, fromJson(ft, v[name])]));
  const [[tag, value]] = Object.entries(v);
  return { [tag]: fromJson(inner.find(([name]) => name === tag)[1], value) };
};

/** The reverse. */
const toJson = (t, v) => {
  if (typeof t === "string") {
    if (t === "blob") return hex(v);
    if (t === "principal") return v.toText();
    if (whole.test(t)) return v.toString();
    return v;
  }
  const [kind, inner] = t;
  if (kind === "opt") return v.length === 0 ? null : [toJson(inner, v[0])];
  if (kind === "vec") return Array.from(v, (item) => toJson(inner, item));
  if (kind === "record") return Object.fromEntries(inner.map(([name, ft]) => [name, toJson(ft, v[name])]));
  const [[tag, value]] = Object.entries(v);
  return { [tag]: toJson(inner.find(([name]) => name === tag)[1], value) };
};

/** What a request's content holds: {bytes: hex} | {nat: decimal} | {text} | {list: [...]} | {map: {...}}. */
const content = (json) => {
  const [[kind, v]] = Object.entries(json);
  if (kind === "bytes") return unhex(v);
  if (kind === "nat") return BigInt(v);
  if (kind === "list") return v.map(content);
  if (kind === "map") return Object.fromEntries(Object.entries(v).map(([key, value]) => [key, content(value)]));
  return v;
};

const path = (labels) => labels.map(unhex);

const operations = {
  principalText: ({ bytes }) => Principal.fromUint8Array(unhex(bytes)).toText(),
  principalBytes: ({ text }) => hex(Principal.fromText(text).toUint8Array()),
  principalOfKey: ({ der }) => OldPrincipal.selfAuthenticating(unhex(der)).toText(),
  requestId: ({ map }) => hex(requestIdOf(content({ map }))),
  oldRequestId: ({ map }) => hex(oldRequestIdOf(content({ map }))),
  identityOfSeed: ({ seed }) => {
    const identity = Ed25519KeyIdentity.generate(unhex(seed));
    return { principal: identity.getPrincipal().toText(), der: hex(identity.getPublicKey().toDer()) };
  },
  sign: async ({ seed, message }) => hex(await Ed25519KeyIdentity.generate(unhex(seed)).sign(unhex(message))),
  verify: ({ der, message, signature }) =>
    Ed25519KeyIdentity.verify(unhex(signature), unhex(message), Ed25519PublicKey.fromDer(unhex(der)).toRaw()),
  encode: ({ types, values }) => hex(IDL.encode(types.map(type), values.map((v, i) => fromJson(types[i], v)))),
  decode: ({ types, bytes }) => IDL.decode(types.map(type), unhex(bytes)).map((v, i) => toJson(types[i], v)),
  cbor: ({ bytes }) => Cbor.decode(unhex(bytes)),
  reconstruct: async ({ tree }) => hex(await reconstruct(Cbor.decode(unhex(tree)))),
  lookup: ({ tree, labels }) => {
    const { status, value } = lookup_path(path(labels), Cbor.decode(unhex(tree)));
    return { status, value: value === undefined ? null : hex(value) };
  },
  subtree: ({ tree, labels }) => lookup_subtree(path(labels), Cbor.decode(unhex(tree))).status,
  // as the clients of ic-websocket-js have it; times are not looked at, so that vectors can be asked about
  oldCertificate: async ({ certificate, rootKey, canister, labels }) => {
    const bytes = (text) => { const array = unhex(text); return array.buffer.slice(array.byteOffset, array.byteOffset + array.length); };
    const verified = await OldCertificate.create({
      certificate: bytes(certificate),
      rootKey: bytes(rootKey),
      canisterId: OldPrincipal.fromText(canister),
      disableTimeVerification: true,
    });
    const value = lookupResultToBuffer(verified.lookup(labels.map(bytes)));
    return value === undefined ? null : hex(new Uint8Array(value));
  },
  certificate: async ({ certificate, rootKey, canister, labels }) => {
    const verified = await Certificate.create({
      certificate: unhex(certificate),
      rootKey: unhex(rootKey),
      principal: { canisterId: Principal.fromText(canister) },
    });
    const { status, value } = verified.lookup_path(path(labels));
    return { status, value: value === undefined ? null : hex(value) };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { op, ...request } = JSON.parse(line);
  try {
    emit({ ok: await operations[op](request) });
  } catch (error) {
    emit({ error: String(error?.message ?? error) });
  }
}
