"use strict";
// Fetches the page again every few seconds and replaces the parts that have changed (icwsgw/admin/page.py).
(() => {
  const EVERY = 3000;
  const TIMEOUT = 8000;
  const silence = document.getElementById("silence");
  let lastAnswer = new Date();
  let timer = 0;
  let busy = false;

  const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

  const apply = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    if (fresh.documentElement.dataset.release !== document.documentElement.dataset.release) {
      location.reload();
      return;
    }
    const selection = getSelection();
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (next === null || (next.innerHTML === part.innerHTML && next.className === part.className)) continue;
      // a person may be about to copy this selection
      if (!selection.isCollapsed && selection.containsNode(part, true)) continue;
      part.className = next.className;
      part.replaceChildren(...next.childNodes);
    }
    document.title = fresh.title;
  };

  const answered = () => {
    lastAnswer = new Date();
    silence.hidden = true;
    document.body.classList.remove("silent");
  };

  const showNoAnswer = () => {
    const text = `No answer since ${clock(lastAnswer)}`;
    if (silence.firstElementChild.textContent !== text) silence.firstElementChild.textContent = text;
    silence.hidden = false;
    document.body.classList.add("silent");
    document.title = "No answer – IC WebSocket Gateway";
  };

  const update = async () => {
    if (busy || document.hidden) return;
    busy = true;
    clearTimeout(timer);
    try {
      const answer = await fetch("./", {
        headers: { accept: "text/html" },
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT),
      });
      if (!answer.ok) throw new Error(answer.statusText);
      apply(await answer.text());
      answered();
    } catch {
      showNoAnswer();
    }
    busy = false;
    timer = setTimeout(update, EVERY);
  };

  document.addEventListener("visibilitychange", update);
  timer = setTimeout(update, EVERY);
})();
