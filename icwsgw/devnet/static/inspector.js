// The session inspector: the replica's last calls and messages, read again every two seconds. A replica without a gateway in
// its process keeps none.
const PERIOD_MS = 2000;

const the = (id) => document.getElementById(id);
const clients = the("inspected-client");
let drawn = "";

const short = (principal) => `${principal.split("-")[0]}…`;

const cell = (text, className = "", title = "") => Object.assign(document.createElement("td"), { textContent: text, className, title });

const isBad = ({ outcome, verified }) => (outcome !== "" && outcome !== "Ok") || verified.startsWith("WRONG");

const rowOf = (exchange) => {
  const { at, direction, client, session, what, value, sequence, bytes, outcome, verified, stages } = exchange;
  const row = document.createElement("tr");
  row.append(
    cell(new Date(at * 1000).toLocaleTimeString([], { hour12: false })),
    cell(direction === "up" ? "→" : "←"),
    cell(short(client), "mono", client),
    cell(session, "mono"),
    cell(value ? `${what}: ${value}` : what, "long"),
    cell(sequence === null ? "" : String(sequence)),
    cell(String(bytes)),
    cell(outcome, isBad(exchange) ? "long bad" : "good"),
    cell(verified, verified.startsWith("WRONG") ? "long bad" : "good"),
    cell(stages.map(([name, ms], i) => (i ? `${name} +${ms}` : name)).join(", ")),
  );
  return row;
};

/** Adds the clients that are new, and keeps the chosen one. */
const offer = (exchanges) => {
  const known = new Set(Array.from(clients.options, ({ value }) => value));
  for (const { client } of exchanges) {
    if (known.has(client)) continue;
    known.add(client);
    clients.append(new Option(client, client));
  }
};

const draw = async () => {
  if (document.hidden) return;
  const answer = await fetch("_/exchanges");
  const exchanges = await answer.json();
  offer(exchanges);
  const shown = exchanges.filter(({ client }) => !clients.value || client === clients.value).reverse();
  const now = JSON.stringify(shown);
  if (now === drawn) return;
  drawn = now;
  the("inspector").hidden = exchanges.length === 0;
  the("exchanges").replaceChildren(...shown.map(rowOf));
};

const again = () => draw().catch(() => {}).finally(() => setTimeout(again, PERIOD_MS));

clients.addEventListener("change", () => draw().catch(() => {}));
again();
