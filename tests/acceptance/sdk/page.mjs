// The demo page in a real browser.
import { fits, newPage, withBrowser } from "./browser.mjs";
import { main } from "./report.mjs";

await main(async ({ url, gateway, executable, screenshots, deadLink }) =>
  withBrowser(executable, async (browser) => {
    const visit = async (address, options) => {
      const { page, complaints } = await newPage(browser, url, options);
      await page.goto(address);
      await page.waitForSelector("body[data-ready=yes]");
      return { page, complaints };
    };
    const open = async (page) => {
      await page.click("#open");
      await page.waitForSelector("#state[data-state=open]");
    };
    const count = async (page, selector, least) => {
      try {
        await page.waitForFunction(([what, n]) => document.querySelectorAll(what).length >= n, [selector, least]);
      } catch (error) {
        throw new Error(`${error.message} ${selector}, ${least}: ${await page.innerText("#chat")}`);
      }
    };
    const address = `${url}/?gateway=${encodeURIComponent(gateway)}`;

    // On a desk: open, one message, a burst of 30, close.
    const { page, complaints } = await visit(address, { viewport: { width: 1200, height: 900 }, colorScheme: "light" });
    await open(page);
    await page.fill("#text", "hello from the browser");
    await page.click("#send");
    await count(page, "#chat li.mine", 1);
    await page.click("#burst");
    await count(page, "#chat li.mine", 31);
    const texts = await page.$$eval("#chat li.mine", (items) => items.map((item) => item.firstChild.textContent));
    const wide = await fits(page);
    await page.screenshot({ path: `${screenshots}/desk.png` });
    const facts = Object.fromEntries(
      await Promise.all(
        ["me", "key", "gateway-principal", "client-nonce", "sent", "received", "latency", "checks", "root"].map(async (id) => [id, await page.textContent(`#${id}`)]),
      ),
    );
    // Through an acknowledgement, and on: the canister's clock reaches its next round.
    await page.evaluate(() =>
      fetch("_/clock", { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"advance": 3600}' }),
    );
    await page.waitForFunction(() => Number(document.getElementById("acknowledged").textContent) > 0);
    await page.fill("#text", "still here");
    await page.click("#send");
    await count(page, "#chat li.mine", 32);
    // The canister forgets its clients: the page opens a new session by itself.
    await page.evaluate(() =>
      fetch("_/reset", { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"canister": "echo"}' }),
    );
    await page.fill("#text", "is anybody there");
    await page.click("#send");
    await page.waitForFunction(() => document.getElementById("chat").textContent.includes("open again"));
    await page.waitForSelector("#state[data-state=open]");
    await page.fill("#text", "back again");
    await page.click("#send");
    await count(page, "#chat li.mine", 33);
    const unverified = await page.$$eval("#wire td.bad", (cells) => cells.length);
    await page.click("#close");
    await page.waitForSelector("#state[data-state=closed]");
    const closed = await page.textContent("#state");

    // On a phone, in the dark, in the chat room.
    const phone = await visit(address, { viewport: { width: 375, height: 740 }, colorScheme: "dark", isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
    await phone.page.selectOption("#canister", { index: 1 });
    await open(phone.page);
    await phone.page.fill("#text", "hello from a phone");
    await phone.page.click("#send");
    await count(phone.page, "#chat li.mine", 1);
    const narrow = await fits(phone.page);
    await phone.page.screenshot({ path: `${screenshots}/phone.png`, fullPage: true });

    // Where no gateway is: plain words, and the page is of use again.
    const lost = await visit(`${url}/?gateway=${encodeURIComponent(deadLink)}`, {});
    await lost.page.click("#open");
    await lost.page.waitForSelector("#state[data-trouble]");
    const trouble = await lost.page.textContent("#chat");
    await lost.page.click("#close");
    await lost.page.waitForSelector("#state[data-state=closed]");
    const again = await lost.page.isEnabled("#open");

    // Where a URL is known to be wrong, before anything is tried.
    const checked = await page.evaluate(async () => {
      const { mistakeIn } = await import("./gateway_check.js");
      const known = ["ws://127.0.0.1:8080", "wss://gw.example"];
      const asked = ["nonsense", "http://127.0.0.1:8080", "ws://localhost:4943", "wss://localhost:8080", "ws://gw.example:443",
        "ws://127.0.0.1:8080", "wss://gw.example/", "ws://elsewhere:1"];
      return Object.fromEntries(asked.map((url) => [url, mistakeIn(url, "http://127.0.0.1:4943/", known)]));
    });
    const own = await visit(`${url}/?gateway=${encodeURIComponent(url.replace("http", "ws"))}`, {});
    await own.page.click("#open");
    const ownPort = await own.page.textContent("#trouble");
    const links = await own.page.$$eval("header a:not([hidden])", (items) => items.map((item) => item.getAttribute("href")));

    return { checked, ownPort, links, texts, facts, unverified, closed, wide, narrow, trouble, again, complaints: [...complaints, ...phone.complaints] };
  }),
);
