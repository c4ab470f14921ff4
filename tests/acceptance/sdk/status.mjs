// The status page in a real browser. The test on the other side acts when a step is reported.
import { fits, newPage, withBrowser } from "./browser.mjs";
import { emit, main } from "./report.mjs";

await main(async ({ url, crowded, executable, before, after }) =>
  withBrowser(executable, async (browser) => {
    const text = (page, selector) => page.textContent(selector);
    const says = (page, selector, words) =>
      page.waitForFunction(([what, wanted]) => document.querySelector(what)?.textContent.includes(wanted), [selector, words]);
    const clients = "#tiles .tile:first-of-type .figure";
    const canisters = (page) => page.$$eval("#canisters tbody tr", (rows) => rows.map((row) => [...row.cells].slice(0, 2).map((cell) => cell.textContent.trim())));

    const { page, complaints } = await newPage(browser, url, { viewport: { width: 1200, height: 900 }, colorScheme: "light" });
    const answer = await page.goto(url);
    await page.evaluate(() => (window.mark = "not loaded again"));
    await says(page, clients, before);
    const first = { state: await text(page, "#state h2"), title: await page.title(), canisters: await canisters(page), wide: await fits(page) };

    // on a phone, in the dark, without scripts: as it comes
    const phone = await newPage(browser, url, {
      viewport: { width: 360, height: 740 }, colorScheme: "dark", isMobile: true, hasTouch: true, javaScriptEnabled: false,
    });
    await phone.page.goto(url);
    const still = { clients: await text(phone.page, clients), canisters: await phone.page.locator("#canisters tbody tr").count() };
    // with the longest of everything
    const room = {};
    for (const width of [360, 800, 1200]) {
      const { page: tight } = await newPage(browser, crowded, { viewport: { width, height: 740 }, isMobile: width === 360, javaScriptEnabled: true });
      await tight.goto(crowded);
      // on a phone not even within a part
      room[width] = (await fits(tight)) && (await tight.$$eval(width === 360 ? ".card" : "main", (parts) => parts.every((part) => part.scrollWidth <= part.clientWidth)));
      await tight.close();
    }
    emit({ event: "step", name: "seen" });

    await says(page, clients, after);
    // a session counts from its first byte on: wait until none is still opening
    await page.waitForFunction(() => !document.querySelector("#canisters tbody").textContent.includes("opening"));
    const second = { canisters: await canisters(page), closes: await text(page, "#closes") };
    const curve = await page.waitForFunction(() => document.querySelector("#tiles .spark .line")?.getAttribute("d"));
    const mark = await page.evaluate(() => window.mark);

    emit({ event: "step", name: "updated" });
    await page.waitForSelector("#silence:not([hidden])");
    const silence = { words: await text(page, "#silence h2"), title: await page.title(), state: await page.isVisible("#state") };
    return {
      policy: answer.headers()["content-security-policy"],
      first, still, room, second, mark, silence,
      curve: await curve.jsonValue(),
      // that the gateway is gone is what the browser has to complain of
      complaints: complaints.filter((words) => !/ERR_CONNECTION_|ERR_EMPTY_RESPONSE/.test(words)),
    };
  }),
);
