import { CanisterSocket, IDL } from "icws-client";

const News = IDL.Record({ first: IDL.Nat32, texts: IDL.Vec(IDL.Text) });
const SLOWLY_MS = 10_000;

/** `newsAfter(number)` is the old query; `show(texts)` shows news. */
export const follow = (places, newsAfter, show) => {
  let known = 0;
  const ask = () => newsAfter(known).then(take, (error) => console.warn(error));
  const take = ({ first, texts }) => {
    if (first > known) return ask(); // something is missing
    const fresh = texts.slice(known - first);
    known += fresh.length;
    if (fresh.length > 0) show(fresh);
  };
  const socket = new CanisterSocket({ ...places, messageType: News });
  socket.onopen = ask;
  socket.onmessage = ({ data }) => take(data);
  socket.onerror = ({ error }) => console.warn(error.message, error.hint);
  const fallback = setInterval(() => socket.state === "open" || ask(), SLOWLY_MS);
  return {
    stop: () => {
      clearInterval(fallback);
      socket.close();
    },
  };
};
