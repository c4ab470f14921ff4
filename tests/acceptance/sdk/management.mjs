// The JavaScript agents' calls to the management canister: `node management.mjs '{"library": "dfinity" | "icp",
// "network": ..., "place": id, "wasm": hex}'` creates a canister, installs code, and reads what the network certifies of it.
import "./globals.mjs";
import { hex, main, unhex } from "./report.mjs";

const libraries = {
  async dfinity() {
    const [agent, { IDL }, { Ed25519KeyIdentity }, { Principal }] = await Promise.all([
      import("@dfinity/agent"),
      import("@dfinity/candid"),
      import("@dfinity/identity"),
      import("@dfinity/principal"),
    ]);
    return { ...agent, IDL, Ed25519KeyIdentity, Principal };
  },
  async icp() {
    const [agent, { IDL }, { Ed25519KeyIdentity }, { Principal }] = await Promise.all([
      import("@icp-sdk/core/agent"),
      import("@icp-sdk/core/candid"),
      import("@icp-sdk/core/identity"),
      import("@icp-sdk/core/principal"),
    ]);
    return { ...agent, IDL, Ed25519KeyIdentity, Principal };
  },
};

/** The methods that are called here, for a library without them. */
const methods = ({ IDL }) => {
  const one = IDL.Record({ canister_id: IDL.Principal });
  const mode = IDL.Variant({
    install: IDL.Null,
    reinstall: IDL.Null,
    upgrade: IDL.Opt(IDL.Record({ skip_pre_upgrade: IDL.Opt(IDL.Bool) })),
  });
  return IDL.Service({
    provisional_create_canister_with_cycles: IDL.Func(
      [IDL.Record({ amount: IDL.Opt(IDL.Nat), settings: IDL.Opt(IDL.Record({})) })], [one], []),
    install_code: IDL.Func(
      [IDL.Record({ mode, canister_id: IDL.Principal, wasm_module: IDL.Vec(IDL.Nat8), arg: IDL.Vec(IDL.Nat8) })], [], []),
    canister_status: IDL.Func([one], [IDL.Record({
      status: IDL.Variant({ running: IDL.Null, stopping: IDL.Null, stopped: IDL.Null }),
      module_hash: IDL.Opt(IDL.Vec(IDL.Nat8)),
      settings: IDL.Record({ controllers: IDL.Vec(IDL.Principal) }),
    })], []),
    stop_canister: IDL.Func([one], [], []),
    delete_canister: IDL.Func([one], [], []),
  });
};

const refusal = (promise) => promise.then(() => null, (error) => String(error?.message ?? error));

await main(async ({ library, network, place, wasm }) => {
  const js = await libraries[library]();
  const { Actor, CanisterStatus, Ed25519KeyIdentity, HttpAgent, Principal } = js;
  const identity = Ed25519KeyIdentity.generate();
  const agentOf = async (who) => {
    const agent = HttpAgent.createSync({ host: network, identity: who, retryTimes: 0 });
    await agent.fetchRootKey();
    return agent;
  };
  const none = Principal.fromHex("");
  // A new canister is created on the subnet of the effective canister id. The older library sends that of the
  // management canister; the newer one refuses the certificate of a subnet for it.
  const somewhere = Principal.fromText(place);
  const transform = (_method, [argument]) => ({ effectiveCanisterId: argument?.canister_id ?? somewhere });
  const managementOf = (agent) => js.getManagementCanister?.({ agent }) ?? Actor.createActor(
    () => methods(js), { agent, canisterId: none, callTransform: transform, queryTransform: transform });
  const agent = await agentOf(identity);
  const management = managementOf(agent);
  const stranger = managementOf(await agentOf(Ed25519KeyIdentity.generate()));

  const { canister_id } = await management.provisional_create_canister_with_cycles({
    amount: [1_000_000_000_000n], settings: [], specified_id: [], sender_canister_version: [],
  });
  const install = (by, mode) => by.install_code({
    mode, canister_id, wasm_module: unhex(wasm), arg: new Uint8Array(), sender_canister_version: [],
  });
  const strangerRefused = await refusal(install(stranger, { install: null }));
  await install(management, { install: null });
  await install(management, { upgrade: [] });
  const before = await management.canister_status({ canister_id });
  const certified = await CanisterStatus.request({
    canisterId: canister_id, agent, paths: ["controllers", "module_hash", "candid"],
  });
  const actor = Actor.createActor(
    ({ IDL }) => IDL.Service({ greet: IDL.Func([], [IDL.Text], ["query"]) }), { agent, canisterId: canister_id });
  const greeting = await actor.greet();
  await management.stop_canister({ canister_id });
  const after = await management.canister_status({ canister_id });
  await management.delete_canister({ canister_id });
  return {
    canister: canister_id.toText(),
    principal: identity.getPrincipal().toText(),
    statuses: [before, after].map(({ status }) => Object.keys(status)[0]),
    controllers: before.settings.controllers.map((each) => each.toText()),
    moduleHash: hex(new Uint8Array(before.module_hash[0])),
    certified: {
      controllers: certified.get("controllers").map((each) => each.toText()),
      moduleHash: certified.get("module_hash"),
      candid: certified.get("candid"),
    },
    greeting,
    strangerRefused,
    gone: await refusal(management.canister_status({ canister_id })),
  };
});
