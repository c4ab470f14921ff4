// The demo page's own formats (icwsgw/devnet/static/formats.js) against the libraries and Node.
import "./globals.mjs";
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Cbor, reconstruct, requestIdOf } from "@icp-sdk/core/agent";
import { IDL } from "@icp-sdk/core/candid";
import { Principal } from "@icp-sdk/core/principal";
import { types } from "./canister.mjs";
import { hex, main, unhex } from "./report.mjs";

const random = (length) => new Uint8Array(randomBytes(length));

await main(async ({ folder }) => {
  // As a data URL, because the folder is not an ES module package; the browser does not ask.
  const source = await readFile(`${folder}/formats.js`, "base64");
  const page = await import(`data:text/javascript;base64,${source}`);
  const checks = {};
  const check = (name, left, right) => {
    checks[name] = (checks[name] ?? true) && JSON.stringify(left) === JSON.stringify(right);
  };

  for (let length = 0; length < 200; length++) {
    const data = random(length);
    check("sha224", page.hex(page.sha224(data)), createHash("sha224").update(data).digest("hex"));
    check("sha256", page.hex(page.sha256(data)), createHash("sha256").update(data).digest("hex"));
  }
  for (let length = 0; length < 30; length++) {
    const principal = Principal.fromUint8Array(random(length));
    check("principalText", page.principalText(principal.toUint8Array()), principal.toText());
    check("principalBytes", page.hex(page.principalBytes(principal.toText())), hex(principal.toUint8Array()));
  }
  const content = { a: random(5), text: "é€", nat: 2n ** 60n, zero: 0n, list: ["x", random(3)] };
  check("requestId", page.hex(page.requestId(content)), hex(requestIdOf(content)));

  const values = { map: { bytes: random(300), text: "é€", small: 23, wide: 70000 }, list: [1, 256] };
  const read = Cbor.decode(page.cborEncode(values));
  check("cborEncode", hex(Cbor.encode(read)), hex(Cbor.encode(values)));
  check("cborDecode", page.hex(page.cborDecode(page.cborEncode(values)).map.bytes), hex(values.map.bytes));

  const { OpenArguments, WebsocketMessage, ClientKey, AppMessage } = types(IDL);
  const gateway = random(29);
  const open = { client_nonce: 2n ** 63n, gateway_principal: gateway };
  const openType = ["record", { client_nonce: "nat64", gateway_principal: "principal" }];
  const [opened] = IDL.decode([OpenArguments], page.candidEncode([openType], [open]));
  check("candidEncode open", [String(opened.client_nonce), opened.gateway_principal.toText()], [String(open.client_nonce), page.principalText(gateway)]);

  const keyType = ["record", { client_principal: "principal", client_nonce: "nat64" }];
  const messageType = ["record", { client_key: keyType, sequence_num: "nat64", timestamp: "nat64", is_service_message: "bool", content: page.BLOB }];
  const message = { client_key: { client_principal: gateway, client_nonce: 1n }, sequence_num: 2n, timestamp: 3n, is_service_message: true, content: random(200) };
  const [sent, none] = IDL.decode(
    [IDL.Record({ msg: WebsocketMessage }), IDL.Opt(AppMessage)],
    page.candidEncode([["record", { msg: messageType }], ["opt", "null"]], [{ msg: message }, null]),
  );
  check("candidEncode message", [String(sent.msg.sequence_num), sent.msg.is_service_message, hex(sent.msg.content), none.length], ["2", true, hex(message.content), 0]);

  const Service = IDL.Variant({ OpenMessage: IDL.Record({ client_key: ClientKey }), AckMessage: IDL.Record({ last_incoming_sequence_num: IDL.Nat64 }), CloseMessage: IDL.Record({ reason: IDL.Variant({ ClosedByApplication: IDL.Null }) }) });
  const names = ["OpenMessage", "AckMessage", "CloseMessage", "last_incoming_sequence_num", "reason", "ClosedByApplication"];
  const [acknowledged] = page.candidDecode(IDL.encode([Service], [{ AckMessage: { last_incoming_sequence_num: 9n } }]), names);
  check("candidDecode acknowledgement", String(acknowledged.AckMessage.last_incoming_sequence_num), "9");
  const [closed] = page.candidDecode(IDL.encode([Service], [{ CloseMessage: { reason: { ClosedByApplication: null } } }]), names);
  check("candidDecode close", closed, { CloseMessage: { reason: { ClosedByApplication: null } } });
  const [said] = page.candidDecode(IDL.encode([AppMessage], [{ text: "é€" }]), ["text"]);
  check("candidDecode text", said, { text: "é€" });

  const tree = [1, [2, page.text("a"), [3, random(9)]], [1, [4, random(32)], [2, page.text("b"), [0]]]];
  check("reconstruct", page.hex(page.reconstruct(tree)), hex(await reconstruct(tree)));
  check("lookup", page.hex(page.lookup(tree, [page.text("a")])), hex(tree[1][2][1]));
  check("lookup nothing", page.lookup(tree, [page.text("c")]), null);
  check("hex", page.hex(unhex("00ff10")), "00ff10");
  return { checks };
});
