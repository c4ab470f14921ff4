import { CanisterSocket, IDL } from "icws-client";

const socket = new CanisterSocket({
  gateway: "ws://127.0.0.1:8080",
  network: "http://127.0.0.1:4943",
  canister: "bkyz2-fmaaa-aaaaa-qaaaq-cai",
  messageType: IDL.Record({ text: IDL.Text }),
});
socket.onerror = ({ error }) => console.error(error.message, error.hint);

// The protocol has no request numbers, so the messages have them.
let last = 0;
const ask = (question) => {
  const number = ++last;
  return socket.request(
    { text: `${number} ${question}` },
    { matches: ({ text }) => text.startsWith(`${number} `), timeoutMs: 30_000 },
  );
};
const replies = await Promise.all([ask("who"), ask("where"), ask("when")]);
console.log(replies.map(({ text }) => text).join(", "));
socket.close();
