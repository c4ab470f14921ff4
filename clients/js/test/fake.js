// A gateway and a canister in memory: a WebSocket class for the client, which a test controls.
import { Cbor, hashValue, reconstruct } from "@icp-sdk/core/agent";
import { IDL } from "@icp-sdk/core/candid";
import { Principal } from "@icp-sdk/core/principal";
import { bls12_381 } from "@noble/curves/bls12-381.js";

const bls = bls12_381.shortSignatures;
const secret = new Uint8Array(32).fill(7);
const text = (string) => new TextEncoder().encode(string);
const DER = Uint8Array.from(
  "308182301d060d2b0601040182dc7c0503010201060c2b0601040182dc7c05030201036100".match(/../g),
  (byte) => parseInt(byte, 16),
);

export const rootKey = Uint8Array.from([...DER, ...bls.getPublicKey(secret).toBytes()]);
export const canister = Principal.fromText("bkyz2-fmaaa-aaaaa-qaaaq-cai");
const gateway = Principal.selfAuthenticating(new Uint8Array(44).fill(1));

const ClientKey = IDL.Record({ client_principal: IDL.Principal, client_nonce: IDL.Nat64 });
const Open = IDL.Record({ client_nonce: IDL.Nat64, gateway_principal: IDL.Principal });
const Message = IDL.Record({
  msg: IDL.Record({
    client_key: ClientKey,
    sequence_num: IDL.Nat64,
    timestamp: IDL.Nat64,
    is_service_message: IDL.Bool,
    content: IDL.Vec(IDL.Nat8),
  }),
});
const Numbered = IDL.Record({ last_incoming_sequence_num: IDL.Nat64 });
const Service = IDL.Variant({
  OpenMessage: IDL.Record({ client_key: ClientKey }),
  AckMessage: Numbered,
  KeepAliveMessage: Numbered,
  CloseMessage: IDL.Record({ reason: IDL.Variant({ WrongSequenceNumber: IDL.Null, ClosedByApplication: IDL.Null }) }),
});

const leb128 = (number) => {
  const bytes = [];
  for (; number > 127n; number >>= 7n) bytes.push(Number(number & 127n) | 128);
  return Uint8Array.from([...bytes, Number(number)]);
};

const leaf = (path, value) => path.reduceRight((below, label) => [2, label, below], [3, value]);

/** The frame that delivers a content, certified now. */
const certified = async (content, nonce, now) => {
  const key = `${gateway.toText()}_${String(nonce).padStart(20, "0")}`;
  const tree = leaf([text("websocket"), text(key)], hashValue(content));
  const state = [
    1,
    leaf([text("canister"), canister.toUint8Array(), text("certified_data")], await reconstruct(tree)),
    leaf([text("time")], leb128(BigInt(now) * 1_000_000n)),
  ];
  const message = Uint8Array.from([13, ...text("ic-state-root"), ...(await reconstruct(state))]);
  const signature = bls.sign(bls.hash(message), secret).toBytes();
  return Cbor.encode({ key, content, cert: Cbor.encode({ tree: state, signature }), tree: Cbor.encode(tree) });
};

/** Makes a WebSocket class; `sockets` has what it made. */
export const fakeGateway = ({ handshake = true } = {}) => {
  const sockets = [];
  const changed = new EventTarget();
  class FakeSocket {
    readyState = 0;
    bufferedAmount = 0;
    /** Calls in the order in which they were sent: {method, service, sequence, content}. */
    calls = [];
    sent = 0n;

    constructor(url) {
      this.url = url;
      sockets.push(this);
      changed.dispatchEvent(new Event("socket"));
      if (handshake) queueMicrotask(() => this.begin());
    }

    begin() {
      this.readyState = 1;
      this.deliver(Cbor.encode({ gateway_principal: gateway }));
    }

    /** What the gateway sends. */
    deliver(bytes) {
      this.onmessage?.({ data: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) });
    }

    send(bytes) {
      const message = Cbor.decode(bytes);
      if (message.leaving) {
        this.calls.push({ method: "leaving" });
        changed.dispatchEvent(new Event("call"));
        return;
      }
      const { content } = message.envelope;
      if (content.method_name === "ws_open") {
        const [{ client_nonce }] = IDL.decode([Open], content.arg);
        this.clientKey = { client_principal: Principal.fromUint8Array(content.sender), client_nonce };
        this.calls.push(message.moves ? { method: "ws_open", moves: true } : { method: "ws_open" });
      } else {
        const [{ msg }] = IDL.decode([Message], content.arg);
        const sequence = Number(msg.sequence_num);
        this.calls.push(
          msg.is_service_message
            ? { sequence, keepAlive: Number(IDL.decode([Service], msg.content)[0].KeepAliveMessage.last_incoming_sequence_num) }
            : { sequence, content: new TextDecoder().decode(msg.content) },
        );
      }
      changed.dispatchEvent(new Event("call"));
    }

    /** The canister sends a message; `changes` make it invalid. */
    async say(content, { isService = false, ...changes } = {}) {
      this.sent += 1n;
      const facts = { client_key: this.clientKey, sequence_num: this.sent, timestamp: 5n, is_service_message: isService, content, ...changes };
      this.deliver(await certified(Cbor.encode(facts), this.sent, Date.now()));
    }

    service(message, changes) {
      return this.say(IDL.encode([Service], [message]), { isService: true, ...changes });
    }

    /** The gateway sends a message of its own. */
    deliverOwn(message) {
      this.deliver(Cbor.encode(message));
    }

    asksToMove(seconds = 8) {
      this.deliverOwn({ move: { seconds } });
    }

    saysRelayed() {
      this.deliverOwn({ relayed: true });
    }

    opens() {
      return this.service({ OpenMessage: { client_key: this.clientKey } });
    }

    acknowledges(number) {
      return this.service({ AckMessage: { last_incoming_sequence_num: BigInt(number) } });
    }

    close(code, reason) {
      this.closedWith = { code, reason };
      this.ends(code, reason);
    }

    /** The connection ends. */
    ends(code, reason = "") {
      this.readyState = 3;
      this.onclose?.({ code, reason });
    }
  }

  /** Resolves when `look` returns something. */
  const until = (look) =>
    new Promise((resolve) => {
      const check = () => {
        const value = look();
        if (!value) return;
        for (const type of ["socket", "call"]) changed.removeEventListener(type, check);
        resolve(value);
      };
      for (const type of ["socket", "call"]) changed.addEventListener(type, check);
      check();
    });

  return {
    WebSocket: FakeSocket,
    until,
    sockets,
    /** Connections that are opened from now on get no handshake message until begin(). */
    silence: () => (handshake = false),
    /** The n-th connection, after it has called ws_open. */
    dialled: (n) => until(() => sockets[n]?.calls.length > 0 && sockets[n]),
    /** The socket, after it has made so many calls. */
    calls: (socket, count) => until(() => socket.calls.length >= count && socket.calls),
  };
};

/** The next event of a type. */
export const event = (target, type) => new Promise((done) => target.addEventListener(type, done, { once: true }));
