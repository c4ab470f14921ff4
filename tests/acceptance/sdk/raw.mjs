// Clients that do something wrong, frame by frame: each gets a close code and a reason.
import "./globals.mjs";
import { Cbor, Expiry, SubmitRequestType, makeNonce } from "@dfinity/agent";
import { IDL } from "@dfinity/candid";
import { Ed25519KeyIdentity } from "@dfinity/identity";
import { Principal } from "@dfinity/principal";
import { types } from "./canister.mjs";
import { Inbox, deferred, main, within } from "./report.mjs";

const { OpenArguments } = types(IDL);

class RawClient {
  constructor(gateway) {
    this.frames = new Inbox();
    const closed = deferred();
    this.closed = closed.promise;
    this.socket = new WebSocket(gateway);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event) => this.frames.put(event.data);
    this.socket.onclose = ({ code, reason, wasClean }) => {
      this.frames.fail(new Error(`closed: ${code} ${reason}`));
      closed.resolve({ code, reason, wasClean });
    };
  }

  /** The principal that the gateway's first frame names. */
  async handshake() {
    const { gateway_principal } = Cbor.decode(await this.frames.next(10_000));
    return Principal.fromUint8Array(new Uint8Array(gateway_principal));
  }

  send(frame) {
    this.socket.send(frame);
  }

  end() {
    return within(10_000, "close", this.closed);
  }
}

/** A signed (or, without identity, anonymous) call of ws_open; `changes` replace parts of its content. */
const openEnvelope = async ({ canister, gatewayPrincipal, identity, nonce = 1n, changes = {} }) => {
  const content = {
    request_type: SubmitRequestType.Call,
    canister_id: Principal.fromText(canister),
    method_name: "ws_open",
    arg: IDL.encode([OpenArguments], [{ client_nonce: nonce, gateway_principal: gatewayPrincipal }]),
    sender: identity ? identity.getPrincipal() : Principal.anonymous(),
    ingress_expiry: new Expiry(4 * 60 * 1000),
    nonce: makeNonce(),
    ...changes,
  };
  if (!identity) return { content };
  const request = { request: { body: null, method: "POST", headers: {} }, endpoint: "call", body: content };
  return (await identity.transformRequest(request)).body;
};

const frame = (envelope) => Cbor.encode({ envelope });

const faults = {
  async textFrame({ client }) {
    client.send("this is text");
  },
  async undecodable({ client }) {
    client.send(new Uint8Array([0xd9, 0xd9, 0xf7, 0xbf, 0xff, 0xff, 0x00]));
  },
  async notAnEnvelope({ client }) {
    client.send(Cbor.encode({ message: "hello" }));
  },
  async wrongGateway({ client, canister, identity }) {
    const gatewayPrincipal = Ed25519KeyIdentity.generate().getPrincipal();
    client.send(frame(await openEnvelope({ canister, gatewayPrincipal, identity })));
  },
  async expired({ client, canister, identity, gatewayPrincipal }) {
    const changes = { ingress_expiry: new Expiry(-2 * 60 * 1000) };
    client.send(frame(await openEnvelope({ canister, gatewayPrincipal, identity, changes })));
  },
  async farAhead({ client, canister, identity, gatewayPrincipal }) {
    const changes = { ingress_expiry: new Expiry(30 * 60 * 1000) };
    client.send(frame(await openEnvelope({ canister, gatewayPrincipal, identity, changes })));
  },
  async anonymous({ client, canister, gatewayPrincipal }) {
    client.send(frame(await openEnvelope({ canister, gatewayPrincipal })));
  },
  async badSignature({ client, canister, identity, gatewayPrincipal }) {
    const envelope = await openEnvelope({ canister, gatewayPrincipal, identity });
    const signature = new Uint8Array(envelope.sender_sig);
    signature[5] ^= 1;
    client.send(frame({ ...envelope, sender_sig: signature.buffer }));
  },
  async otherMethod({ client, canister, identity, gatewayPrincipal }) {
    const changes = { method_name: "ws_message" };
    client.send(frame(await openEnvelope({ canister, gatewayPrincipal, identity, changes })));
  },
  /** The same principal opens once more: the first socket is the one that goes. */
  async replaced({ client, canister, identity, gatewayPrincipal, gateway }) {
    client.send(frame(await openEnvelope({ canister, gatewayPrincipal, identity, nonce: 1n })));
    await client.frames.next();
    const second = new RawClient(gateway);
    const principal = await second.handshake();
    second.send(frame(await openEnvelope({ canister, gatewayPrincipal: principal, identity, nonce: 2n })));
    await second.frames.next();
    return { after: () => second.socket.close(1000) };
  },
};

await main(async ({ fault, gateway, canister }) => {
  const client = new RawClient(gateway);
  const gatewayPrincipal = await client.handshake();
  const identity = Ed25519KeyIdentity.generate();
  const done = await faults[fault]({ client, canister, identity, gatewayPrincipal, gateway });
  const close = await client.end();
  done?.after();
  return { close };
});
