// Shows what the chosen canister has printed, and its traps: the devnet's log of it, read again every two seconds.
const PERIOD_MS = 2000;
const ROWS = 200;

const log = document.getElementById("log");
const canister = document.getElementById("canister");

const line = ({ time, text }) => `${new Date(time * 1000).toLocaleTimeString([], { hour12: false })}  ${text}`;

const draw = async () => {
  const id = canister.value;
  if (!id || document.hidden) return;
  const [logs, info] = await Promise.all(["_/logs", "_/info"].map((path) => fetch(path).then((answer) => answer.json())));
  const name = Object.entries(info.canisters).find(([, other]) => other === id)?.[0] ?? id;
  const shown = (logs[name] ?? []).slice(-ROWS).map(line).join("\n") || "nothing yet";
  if (log.textContent === shown) return;
  const box = log.parentElement;
  const follow = box.scrollTop + box.clientHeight > box.scrollHeight - 40;
  log.textContent = shown;
  if (follow) box.scrollTop = box.scrollHeight;
};

const again = () => draw().catch(() => {}).finally(() => setTimeout(again, PERIOD_MS));

canister.addEventListener("change", () => draw().catch(() => {}));
again();
