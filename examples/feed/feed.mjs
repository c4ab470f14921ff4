import { CanisterSocket, IDL } from "icws-client";

const Message = IDL.Variant({
  say: IDL.Record({ id: IDL.Text, text: IDL.Text }),
  after: IDL.Nat32,
  entries: IDL.Vec(IDL.Record({ number: IDL.Nat32, id: IDL.Text, text: IDL.Text })),
});

export const connect = (places, show) => {
  let last = 0;
  const take = ({ entries }) => {
    for (const entry of entries ?? []) {
      if (entry.number <= last) continue;
      last = entry.number;
      show(entry.text);
    }
  };
  const socket = new CanisterSocket({
    ...places,
    messageType: Message,
    resynchronize: async ({ request, send, unconfirmed }) => {
      take(await request({ after: last }, { matches: (reply) => "entries" in reply }));
      for (const message of unconfirmed) send(message);
    },
  });
  socket.onmessage = ({ data }) => take(data);
  socket.onerror = ({ error }) => console.warn(error.message, error.hint);
  const say = (text) => socket.send({ say: { id: crypto.randomUUID(), text } });
  return { socket, say };
};
