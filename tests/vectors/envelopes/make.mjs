// Makes envelopes.json: the bodies that the two JavaScript agents POST, at a fixed time, for each kind of identity.
// Run in tests/acceptance/sdk (after npm ci): cp ../../vectors/envelopes/make.mjs . && node make.mjs > ../../vectors/envelopes/envelopes.json
import * as agent2 from "@dfinity/agent";
import * as identity2 from "@dfinity/identity";
import * as secp2 from "@dfinity/identity-secp256k1";
import * as principal2 from "@dfinity/principal";
import * as agent6 from "@icp-sdk/core/agent";
import * as identity6 from "@icp-sdk/core/identity";
import * as secp6 from "@icp-sdk/core/identity/secp256k1";
import * as principal6 from "@icp-sdk/core/principal";

const now = Date.parse("2026-01-02T03:04:05.678Z");
Date.now = () => now;
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...args) {
    super(...(args.length ? args : [now]));
  }
  static now() {
    return now;
  }
};
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const canisterText = "rrkah-fqaaa-aaaaa-aaaaq-cai";
const out = [];

const capture = async (name, { HttpAgent }, Principal, identity) => {
  for (const kind of ["call", "query", "read_state"]) {
    let body;
    const fetch = async (url, init) => {
      if (String(url).includes(`/${kind}`)) body = new Uint8Array(init.body);
      throw new Error("captured");
    };
    const options = { identity, fetch, host: "http://127.0.0.1:4943", retryTimes: 0, verifyQuerySignatures: false, shouldSyncTime: false };
    const agent = HttpAgent.createSync ? HttpAgent.createSync(options) : new HttpAgent(options);
    const canister = Principal.fromText(canisterText);
    const arg = new Uint8Array([68, 73, 68, 76, 0, 0]);
    try {
      if (kind === "call") await agent.call(canister, { methodName: "ws_message", arg, effectiveCanisterId: canister });
      if (kind === "query") await agent.query(canister, { methodName: "ws_get_messages", arg });
      if (kind === "read_state") await agent.readState(canister, { paths: [[new TextEncoder().encode("time")]] });
    } catch {}
    if (!body) throw new Error(`${name} ${kind}: nothing captured`);
    out.push({ name, kind, sender: (await identity.getPrincipal()).toText(), body: hex(body) });
  }
};

for (const [label, agent, identities, secp, { Principal }] of [
  ["@dfinity/agent 2.4.1", agent2, identity2, secp2, principal2],
  ["@icp-sdk/core 6.1.0", agent6, identity6, secp6, principal6],
]) {
  const ed25519 = identities.Ed25519KeyIdentity.generate(new Uint8Array(32).fill(7));
  const p256 = await identities.ECDSAKeyIdentity.generate();
  const k256 = secp.Secp256k1KeyIdentity.fromSecretKey(new Uint8Array(32).fill(9));
  const session = identities.Ed25519KeyIdentity.generate(new Uint8Array(32).fill(8));
  const expiration = new RealDate(now + 3600_000);
  const { DelegationChain, DelegationIdentity } = identities;
  const one = await DelegationChain.create(ed25519, session.getPublicKey(), expiration);
  const targeted = await DelegationChain.create(p256, session.getPublicKey(), expiration, { targets: [Principal.fromText(canisterText)] });
  const first = await DelegationChain.create(k256, p256.getPublicKey(), expiration);
  const two = await DelegationChain.create(p256, session.getPublicKey(), expiration, { previous: first });
  await capture(`${label} anonymous`, agent, Principal, new agent.AnonymousIdentity());
  await capture(`${label} Ed25519`, agent, Principal, ed25519);
  await capture(`${label} P-256`, agent, Principal, p256);
  await capture(`${label} secp256k1`, agent, Principal, k256);
  await capture(`${label} delegation`, agent, Principal, DelegationIdentity.fromDelegation(session, one));
  await capture(`${label} delegation with targets`, agent, Principal, DelegationIdentity.fromDelegation(session, targeted));
  await capture(`${label} two delegations`, agent, Principal, DelegationIdentity.fromDelegation(session, two));
}
process.stdout.write(JSON.stringify({ now_ns: `${now}000000`, canister: canisterText, envelopes: out }, null, 1) + "\n");
