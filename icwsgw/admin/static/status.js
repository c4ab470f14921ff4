"use strict";
// Asks for the page again every few seconds and takes over the parts that have changed (icwsgw/admin/page.py).
(() => {
  const EVERY = 3000;
  const TIMEOUT = 8000;
  const silence = document.getElementById("silence");
  let heard = new Date();
  let timer = 0;
  let busy = false;

  const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

  const take = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    if (fresh.documentElement.dataset.release !== document.documentElement.dataset.release) {
      location.reload();
      return;
    }
    const selection = getSelection();
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (next === null || (next.innerHTML === part.innerHTML && next.className === part.className)) continue;
      // somebody is about to copy from it
      if (!selection.isCollapsed && selection.containsNode(part, true)) continue;
      part.className = next.className;
      part.replaceChildren(...next.childNodes);
    }
    document.title = fresh.title;
  };

  const spoke = () => {
    heard = new Date();
    silence.hidden = true;
    document.body.classList.remove("silent");
  };

  const silent = () => {
    const words = `No answer since ${clock(heard)}`;
    if (silence.firstElementChild.textContent !== words) silence.firstElementChild.textContent = words;
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
      take(await answer.text());
      spoke();
    } catch {
      silent();
    }
    busy = false;
    timer = setTimeout(update, EVERY);
  };

  document.addEventListener("visibilitychange", update);
  timer = setTimeout(update, EVERY);
})();
