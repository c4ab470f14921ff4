// npm install ic-websocket-js @dfinity/agent@2
import { Actor } from "@dfinity/agent";
import { IcWebSocket, createWsConfig, generateRandomIdentity } from "ic-websocket-js";

const canisterId = "bkyz2-fmaaa-aaaaa-qaaaq-cai"; // the local replica's echo canister
// Usually generated from the canister's .did file. The SDK reads the type of your messages from ws_message.
const idlFactory = ({ IDL }) =>
  IDL.Service({ ws_message: IDL.Func([IDL.Record({}), IDL.Opt(IDL.Record({ text: IDL.Text }))], [], []) });

const ws = new IcWebSocket("ws://127.0.0.1:8080", undefined, createWsConfig({
  canisterId,
  canisterActor: Actor.createActor(idlFactory, { canisterId }),
  identity: generateRandomIdentity(),
  networkUrl: "http://127.0.0.1:4943",
}));
ws.onopen = () => ws.send({ text: "hello" });
ws.onmessage = (event) => { console.log(event.data.text); ws.close(); };
ws.onclose = (event) => console.log(event.code, event.reason);
