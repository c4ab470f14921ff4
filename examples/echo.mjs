// npm install --install-links ./clients/js ws        (ws only for Node 20)
import { CanisterSocket, IDL } from "icws-client";

const socket = new CanisterSocket({
  gateway: "ws://127.0.0.1:8080",
  network: "http://127.0.0.1:4943", // without it mainnet
  canister: "bkyz2-fmaaa-aaaaa-qaaaq-cai", // the local replica's echo canister
  messageType: IDL.Record({ text: IDL.Text }), // or the canister's generated idlFactory, or bytes
});
socket.onmessage = ({ data }) => { console.log(data.text); socket.close(); };
socket.onerror = ({ error }) => console.error(error.message, error.hint);
socket.onclose = ({ code, reason }) => console.log(code, reason);
socket.send({ text: "hello" }); // leaves when the session is open
