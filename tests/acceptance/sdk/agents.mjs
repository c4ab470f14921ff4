// Two generations of the JavaScript agent as judges of the local replica: what is right they accept, what was
// changed on the way they refuse. `node agents.mjs '{"library": "dfinity" | "icp", "network": ..., "canister": ...}'`
import "./globals.mjs";
import { canisterInterface } from "./canister.mjs";
import { hex, main } from "./report.mjs";

const libraries = {
  /** @dfinity/agent 2.4, what the SDK uses: v3 call, v2 query and read_state. */
  async dfinity() {
    const [agent, { IDL }, { Ed25519KeyIdentity }, { Principal }] = await Promise.all([
      import("@dfinity/agent"),
      import("@dfinity/candid"),
      import("@dfinity/identity"),
      import("@dfinity/principal"),
    ]);
    const { Certificate, Cbor, lookup_path, lookupResultToBuffer, reconstruct } = agent;
    return {
      ...agent,
      IDL,
      Ed25519KeyIdentity,
      Principal,
      certificate: ({ certificate, rootKey, canisterId }) =>
        Certificate.create({ certificate: new Uint8Array(certificate).buffer, rootKey, canisterId }),
      found: (certificate, path) => lookupResultToBuffer(certificate.lookup(path)),
      tree: (bytes) => Cbor.decode(new Uint8Array(bytes).buffer),
      foundInTree: (tree, path) => lookupResultToBuffer(lookup_path(path, tree)),
      reconstruct,
    };
  },
  /** @icp-sdk/core 6: v4 call, v3 query and read_state. */
  async icp() {
    const [agent, { IDL }, { Ed25519KeyIdentity }, { Principal }] = await Promise.all([
      import("@icp-sdk/core/agent"),
      import("@icp-sdk/core/candid"),
      import("@icp-sdk/core/identity"),
      import("@icp-sdk/core/principal"),
    ]);
    const { Certificate, Cbor, lookup_path, reconstruct } = agent;
    const value = (result) => (result.status === "Found" ? result.value : undefined);
    return {
      ...agent,
      IDL,
      Ed25519KeyIdentity,
      Principal,
      certificate: ({ certificate, rootKey, canisterId }) =>
        Certificate.create({ certificate: new Uint8Array(certificate), rootKey, principal: { canisterId } }),
      found: (certificate, path) => value(certificate.lookup_path(path.map(label))),
      tree: (bytes) => Cbor.decode(new Uint8Array(bytes)),
      foundInTree: (tree, path) => value(lookup_path(path.map(label), tree)),
      reconstruct,
    };
  },
};

const label = (part) => (typeof part === "string" ? new TextEncoder().encode(part) : part);

/** The error's text, or null where the promise was kept. */
const refusal = async (promise) => {
  try {
    await promise;
    return null;
  } catch (error) {
    return String(error?.message ?? error);
  }
};

/** A fetch that flips one bit of answers whose URL ends in `endpoint`: the one `offset` bytes after `mark`. */
const tampering = (endpoint, mark, offset) => async (url, options) => {
  const answer = await fetch(url, options);
  if (!String(url).endsWith(endpoint)) return answer;
  const body = new Uint8Array(await answer.arrayBuffer());
  const at = Buffer.from(body).indexOf(mark);
  if (at < 0) throw new Error(`${mark} is not in the answer of ${url}`);
  body[at + offset] ^= 1;
  return new Response(body, { status: answer.status, headers: answer.headers });
};

await main(async ({ library, network, canister }) => {
  const js = await libraries[library]();
  const { Actor, CanisterStatus, Ed25519KeyIdentity, HttpAgent, Principal } = js;
  const canisterId = Principal.fromText(canister);
  const client = Ed25519KeyIdentity.generate();
  const gateway = Ed25519KeyIdentity.generate();
  const agentOf = async (identity, options = {}) => {
    const agent = HttpAgent.createSync({ host: network, identity, retryTimes: 0, ...options });
    if (!options.strangerToRoot) await agent.fetchRootKey();
    return agent;
  };
  const actorOf = (agent) => Actor.createActor(canisterInterface, { agent, canisterId });
  const clientAgent = await agentOf(client);
  const gatewayAgent = await agentOf(gateway);
  const open = (agent) =>
    actorOf(agent).ws_open({ client_nonce: 7n, gateway_principal: gateway.getPrincipal() });
  const messages = (agent) => actorOf(agent).ws_get_messages({ nonce: 0n });

  // What is right.
  const status = await clientAgent.status();
  const opened = await open(clientAgent);
  const { Ok: batch, Err: queryRefused } = await messages(gatewayAgent);
  const canisterStatus = await CanisterStatus.request({
    canisterId,
    agent: clientAgent,
    paths: ["time", "controllers", "module_hash", "subnet"],
  });
  const subnet = canisterStatus.get("subnet");
  const rootKey = clientAgent.rootKey;
  const certificate = await js.certificate({ certificate: batch.cert, rootKey, canisterId });
  const tree = js.tree(batch.tree);
  const [message] = batch.messages;
  const content = new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(message.content)));
  const certified = js.found(certificate, ["canister", canisterId.toUint8Array(), "certified_data"]);

  // What is not.
  const strangerRoot = await agentOf(gateway, { strangerToRoot: true });
  const wrongCall = await agentOf(Ed25519KeyIdentity.generate(), { fetch: tampering("/call", "DIDL", 4) });
  const wrongQuery = await agentOf(gateway, { fetch: tampering("/query", "DIDL", 4) });
  const wrongState = await agentOf(gateway, { fetch: tampering("/read_state", "Dtime", 8) });
  const changedCertificate = new Uint8Array(batch.cert);
  changedCertificate[Buffer.from(changedCertificate).indexOf("Dtime") + 8] ^= 1;
  const otherCanister = Principal.fromText("ryjl3-tyaaa-aaaaa-aaaba-cai");
  const time = () => ({ canisterId, paths: ["time"] });

  return {
    rootKey: hex(status.root_key),
    opened,
    queryRefused: queryRefused ?? null,
    count: batch.messages.length,
    key: message.key,
    gatewayPrincipal: gateway.getPrincipal().toText(),
    contentCertified: hex(js.foundInTree(tree, ["websocket", message.key])) === hex(content),
    treeCertified: hex(await js.reconstruct(tree)) === hex(certified),
    time: Number(canisterStatus.get("time") ?? 0),
    hasSubnetKeys: subnet === undefined || subnet === null ? 0 : subnet.nodeKeys.size,
    refused: {
      strangerRootCall: await refusal(open(strangerRoot)),
      strangerRootState: await refusal(js.certificate({ certificate: batch.cert, rootKey: strangerRoot.rootKey, canisterId })),
      changedCall: await refusal(open(wrongCall)),
      changedQuery: await refusal(messages(wrongQuery)),
      changedState: await refusal(wrongState.readState(canisterId, { paths: [[label("time")]] }).then(
        ({ certificate }) => js.certificate({ certificate, rootKey, canisterId }))),
      changedStatus: (await CanisterStatus.request({ ...time(), agent: wrongState }).then(
        (map) => (map.get("time") ? null : "no time"), (error) => String(error?.message ?? error))),
      changedCertificate: await refusal(js.certificate({ certificate: changedCertificate, rootKey, canisterId })),
      otherCanister: js.found(certificate, ["canister", otherCanister.toUint8Array(), "certified_data"]) === undefined
        ? "absent" : null,
      anonymousOpen: await actorOf(await agentOf(undefined)).ws_open(
        { client_nonce: 7n, gateway_principal: gateway.getPrincipal() }).then(({ Err }) => Err ?? null, (error) => String(error?.message ?? error)),
    },
  };
});
