// The page: a CanisterSocket of clients/js, and what it says of each frame.
import { mistakeIn } from "./gateway_check.js";
import { CanisterSocket, ECDSAKeyIdentity, Ed25519KeyIdentity, IDL } from "./icws-client.js";

const ROWS = 200;

const the = (id) => document.getElementById(id);
const put = (id, value) => (the(id).textContent = value);

let identity = null;
let socket = null;
/** Texts that were sent, with the time, until they come back. */
let waiting = [];
const roundTrips = [];

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

const element = (tag, textContent, className = "") => Object.assign(document.createElement(tag), { textContent, className });

const scrolling = (list, item) => {
  const follow = list.scrollTop + list.clientHeight > list.scrollHeight - 40;
  list.append(item);
  while (list.children.length > ROWS) list.firstElementChild.remove();
  if (follow) list.scrollTop = list.scrollHeight;
};

/** Keys begin with the gateway's principal, which is the same in all of them; request ids are long. */
const short = (id) => (id.length > 32 ? `${id.slice(0, 11)}…${id.slice(-20)}` : id);

const note = (string) => scrolling(the("chat"), element("li", string, "note"));

const wire = ({ direction, what, number = "", bytes, delivery = "", verified = "", good = true, id = "" }) => {
  const row = document.createElement("tr");
  const cells = [new Date().toLocaleTimeString([], { hour12: false }), direction, what, String(number), bytes, delivery, verified, short(id)];
  const classes = { 2: "long", 6: good ? "good" : "bad", 7: "mono" };
  cells.forEach((cell, i) => row.append(element("td", cell, classes[i] ?? "")));
  row.lastElementChild.title = id;
  the("wire").prepend(row);
  while (the("wire").children.length > ROWS) the("wire").lastElementChild.remove();
};

const say = (text) => {
  waiting.push({ text, at: performance.now() });
  try {
    socket.send({ text });
  } catch (error) {
    waiting.pop();
    trouble(error);
  }
};

/** The time since a text was sent that comes back now, with what a canister has put before it; null for others' texts. */
const roundTrip = (text) => {
  const own = waiting.findIndex((sent) => text.endsWith(sent.text));
  if (own < 0) return null;
  const { at } = waiting[own];
  waiting = waiting.slice(own + 1);
  return performance.now() - at;
};

const STATES = {
  connecting: "waiting for the gateway’s handshake",
  opening: "opening",
  resynchronizing: "opening again",
  open: "open",
  waiting: "waiting to connect again",
  closing: "closing",
};

/** What the socket tells, by the type of its event. */
const draw = {
  statechange({ state }) {
    const open = state === "open";
    the("state").dataset.state = open || state === "closed" ? state : "waiting";
    if (open) delete the("state").dataset.trouble;
    if (state in STATES) put("state", STATES[state]);
    for (const id of ["text", "send", "burst"]) the(id).disabled = !open;
    the("close").disabled = state === "closed";
    the("open").disabled = state !== "closed";
  },

  open({ gateway, resumed }) {
    put("gateway-principal", gateway.toText());
    put("client-nonce", socket.clientKey.client_nonce);
    note(resumed ? "open again: a new session" : "open: the canister has sent its OpenMessage");
    waiting = [];
    the("text").focus();
  },

  message({ data: { text } }) {
    const ms = roundTrip(text);
    const item = element("li", text, ms === null ? "" : "mine");
    if (ms !== null) {
      roundTrips.push(ms);
      item.append(element("small", `${Math.round(ms)} ms`));
      const sorted = roundTrips.slice(-100).sort((a, b) => a - b);
      put("latency", `${Math.round(ms)} ms, median ${Math.round(sorted[sorted.length >> 1])} ms of the last ${sorted.length}`);
    }
    scrolling(the("chat"), item);
  },

  error({ error }) {
    the("state").dataset.trouble = "yes";
    note(`${error.message}. ${error.hint}`);
  },

  disconnect({ code, pauseMs }) {
    const then = pauseMs === null ? "" : `; again in ${(pauseMs / 1000).toFixed(1)} s`;
    note(`closed with ${code}${then}`);
  },

  close({ code }) {
    put("state", `closed, ${code}`);
    note(`closed with ${code}`);
  },
};

/** A frame as a row of the table. */
const traced = ({ direction, what, value, bytes, sequence, requestId, key, timestamp, verified }) => {
  const arrow = direction === "out" ? "→" : "←";
  if (direction === "out") {
    if (sequence) put("sent", sequence);
    const call = what === "ws_open" ? what : `ws_message: ${value.text ?? value}`;
    wire({ direction: arrow, what: call, number: sequence, bytes, id: hex(requestId) });
    return;
  }
  if (what === "handshake") {
    wire({ direction: arrow, what, bytes, id: value.toText() });
    return;
  }
  put("received", sequence);
  the("checks").className = "good";
  put("checks", `signed by the network, certified by the canister; certificate ${Math.max(0, Math.round(verified.ageMs))} ms old${verified.delegated ? ", from a subnet" : ""}`);
  put("root", hex(verified.root));
  if (what === "AckMessage") put("acknowledged", value.last_incoming_sequence_num);
  const details = { message: value.text ?? "bytes", AckMessage: `AckMessage ${value.last_incoming_sequence_num}`, CloseMessage: `CloseMessage ${Object.keys(value.reason ?? {})}` };
  wire({
    direction: arrow,
    what: details[what] ?? what,
    number: sequence,
    bytes,
    delivery: `${Date.now() - Number(timestamp / 1_000_000n)} ms`,
    verified: "certificate ✓ content ✓",
    id: key,
  });
};

/** A key that cannot be read out, where the page is from https:// or from this machine. */
const newIdentity = async () =>
  globalThis.crypto.subtle
    ? { kind: "ECDSA P-256, made by this browser; it never leaves it", identity: await ECDSAKeyIdentity.generate() }
    : { kind: "Ed25519, made by this page", identity: Ed25519KeyIdentity.generate() };

const trouble = (error) => {
  put("trouble", String(error.message ?? error));
  the("trouble").hidden = false;
};

the("connect").addEventListener("submit", async (event) => {
  event.preventDefault();
  the("trouble").hidden = true;
  delete the("state").dataset.trouble;
  const mistake = mistakeIn(the("gateway").value, location.href, info.gateway_urls ?? []);
  if (mistake !== null) {
    trouble(mistake);
    return;
  }
  the("open").disabled = true;
  try {
    identity ??= await newIdentity();
    put("me", identity.identity.getPrincipal().toText());
    put("key", identity.kind);
    roundTrips.length = 0;
    for (const id of ["sent", "received", "acknowledged"]) put(id, 0);
    socket = new CanisterSocket({
      gateway: the("gateway").value,
      canister: the("canister").value,
      network: location.origin,
      identity: identity.identity,
      messageType: IDL.Record({ text: IDL.Text }),
      trace: traced,
    });
    for (const type of Object.keys(draw)) socket.addEventListener(type, draw[type]);
  } catch (error) {
    the("open").disabled = false;
    trouble(error);
  }
});

the("close").addEventListener("click", () => socket?.close());

the("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = the("text");
  if (input.value === "") return;
  say(input.value);
  input.value = "";
});

let bursts = 0;
the("burst").addEventListener("click", () => {
  bursts += 1;
  for (let i = 1; i <= 30; i++) say(`burst ${bursts}, message ${i}`);
});

// What this devnet has: its canisters and, where it runs inside a gateway, where that listens.
const info = await fetch("_/info").then((answer) => answer.json()).catch(() => ({}));
const asked = new URLSearchParams(location.search);
for (const [name, id] of Object.entries(info.canisters ?? {})) {
  the("canister").append(new Option(`${name} (${id})`, id, false, id === asked.get("canister")));
}
if (info.status_url) {
  the("status-page").href = info.status_url;
  the("status-page").hidden = false;
}
const showInterface = () => {
  const name = the("canister").selectedOptions[0]?.text.split(" ")[0];
  the("interface").href = `${name}.did`;
};
the("canister").addEventListener("change", showInterface);
showInterface();
the("gateway").value = asked.get("gateway") ?? info.gateway_urls?.[0] ?? `ws://${location.hostname}:8080`;
if (!the("canister").options.length) trouble("this page is not served by a devnet: no canisters are known");
document.body.dataset.ready = "yes";
