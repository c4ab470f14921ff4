// The page: draws what the session tells it. The protocol is in client.js, the formats are in formats.js.
import { hex, principalText } from "./formats.js";
import { CLOSE_CODES } from "./close_codes.js";
import { Identity, Session } from "./client.js";

const ROWS = 200;

const the = (id) => document.getElementById(id);
const put = (id, value) => (the(id).textContent = value);

let identity = null;
let session = null;
const roundTrips = [];

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

const draw = {
  state({ state }) {
    const open = state === "open";
    the("state").dataset.state = open || state === "closed" ? state : "waiting";
    put("state", state);
    for (const id of ["text", "send", "burst"]) the(id).disabled = !open;
    the("close").disabled = state === "closed";
    the("open").disabled = state !== "closed";
    if (open) {
      note("open: the canister has sent its OpenMessage");
      the("text").focus();
    }
  },

  sent({ method, sequence, bytes, requestId, text: string }) {
    if (sequence) put("sent", sequence);
    const what = string === undefined ? method : `${method}: ${string}`;
    wire({ direction: "→", what, number: sequence, bytes, id: hex(requestId) });
  },

  received({ what, key, sequence, bytes, checks, deliveryMs, text: string, roundTripMs, gateway, body }) {
    if (what === "handshake") {
      put("gateway-principal", gateway);
      wire({ direction: "←", what: "handshake", bytes, id: gateway });
      return;
    }
    put("received", sequence);
    const good = checks.content && checks.tree;
    const age = checks.ageMs === null ? "no time" : `${Math.max(0, checks.ageMs)} ms old`;
    const verified = good ? "content ✓ tree ✓" : `content ${checks.content ? "✓" : "✗"} tree ${checks.tree ? "✓" : "✗"}`;
    the("checks").className = good ? "good" : "bad";
    put("checks", `${good ? "content and tree match what the canister certifies" : "does NOT match what the canister certifies"}, certificate ${age}${checks.delegated ? ", from a subnet" : ""}`);
    put("root", hex(checks.root));
    const details = what === "AckMessage" ? `AckMessage ${body.last_incoming_sequence_num}` : what === "CloseMessage" ? `CloseMessage ${Object.keys(body.reason)[0]}` : what === "message" ? string : what;
    if (what === "AckMessage") put("acknowledged", body.last_incoming_sequence_num);
    wire({ direction: "←", what: details, number: sequence, bytes, delivery: `${deliveryMs} ms`, verified, good, id: key });
    if (what !== "message") return;
    const item = element("li", string, roundTripMs === null ? "" : "mine");
    if (roundTripMs !== null) {
      roundTrips.push(roundTripMs);
      item.append(element("small", `${Math.round(roundTripMs)} ms`));
      const sorted = roundTrips.slice(-100).sort((a, b) => a - b);
      put("latency", `${Math.round(roundTripMs)} ms, median ${Math.round(sorted[sorted.length >> 1])} ms of the last ${sorted.length}`);
    }
    scrolling(the("chat"), item);
  },

  closed({ code, reason, gaveUp }) {
    const words = [CLOSE_CODES[code] ?? "", reason, gaveUp ?? ""].filter(Boolean).join("; ");
    put("state", `closed, ${code}`);
    if (code !== 1000) the("state").dataset.trouble = "yes";
    note(`closed with ${code}: ${words}`);
  },
};

const trouble = (error) => {
  put("trouble", String(error.message ?? error));
  the("trouble").hidden = false;
};

the("connect").addEventListener("submit", async (event) => {
  event.preventDefault();
  the("trouble").hidden = true;
  delete the("state").dataset.trouble;
  the("open").disabled = true;
  try {
    identity ??= await Identity.generate();
    put("me", principalText(identity.principal));
    put("key", `${identity.kind}, made by this browser; it never leaves it`);
    roundTrips.length = 0;
    for (const id of ["sent", "received", "acknowledged"]) put(id, 0);
    session = new Session({
      gateway: the("gateway").value,
      canister: the("canister").value,
      identity,
      events: (event) => draw[event.kind](event),
    });
    put("client-nonce", session.clientNonce);
    draw.state({ state: session.state });
  } catch (error) {
    the("open").disabled = false;
    trouble(error);
  }
});

the("close").addEventListener("click", () => session?.close());

the("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = the("text");
  if (input.value === "") return;
  session.say(input.value);
  input.value = "";
});

let bursts = 0;
the("burst").addEventListener("click", () => {
  bursts += 1;
  for (let i = 1; i <= 30; i++) session.say(`burst ${bursts}, message ${i}`);
});

// What this devnet has: its canisters and, where it runs inside a gateway, where that listens.
const info = await fetch("_/info").then((answer) => answer.json()).catch(() => ({}));
const asked = new URLSearchParams(location.search);
for (const [name, id] of Object.entries(info.canisters ?? {})) {
  the("canister").append(new Option(`${name} (${id})`, id, false, id === asked.get("canister")));
}
the("gateway").value = asked.get("gateway") ?? info.gateway_urls?.[0] ?? `ws://${location.hostname}:8080`;
if (!the("canister").options.length) trouble("this page is not served by a devnet: no canisters are known");
document.body.dataset.ready = "yes";
