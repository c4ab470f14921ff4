import { CanisterSocket, IDL } from "icws-client";

const socket = new CanisterSocket({
  gateway: "ws://127.0.0.1:8080",
  network: "http://127.0.0.1:4943", // without it mainnet
  canister: "bkyz2-fmaaa-aaaaa-qaaaq-cai", // the local replica's echo canister
  messageType: IDL.Record({ text: IDL.Text }),
});
const the = (id) => document.getElementById(id);
socket.onstatechange = ({ state }) => (the("state").textContent = state);
socket.onmessage = ({ data }) => {
  the("received").append(Object.assign(document.createElement("li"), { textContent: data.text }));
};
socket.onerror = ({ error }) => console.warn(error.message, error.hint);
the("say").onsubmit = (event) => {
  event.preventDefault();
  socket.send({ text: the("text").value });
  event.target.reset();
};
