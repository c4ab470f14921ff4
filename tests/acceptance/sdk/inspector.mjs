// The session inspector of the demo page in a real browser.
import { newPage, withBrowser } from "./browser.mjs";
import { main } from "./report.mjs";

await main(async ({ url, executable }) =>
  withBrowser(executable, async (browser) => {
    const { page, complaints } = await newPage(browser, url, { viewport: { width: 1400, height: 1000 } });
    await page.goto(url);
    await page.waitForSelector("body[data-ready=yes]");
    await page.click("#open");
    await page.waitForSelector("#state[data-state=open]");
    await page.fill("#text", "hello inspector");
    await page.click("#send");
    await page.waitForFunction(() => document.querySelectorAll("#chat li.mine").length > 0);
    const me = await page.textContent("#me");
    await page.click("#close");
    await page.waitForSelector("#state[data-state=closed]");
    // After the client has left, its exchanges are there, and can be looked at alone.
    await page.waitForFunction((client) => document.querySelector(`#inspected-client option[value="${client}"]`), me);
    await page.selectOption("#inspected-client", me);
    await page.waitForFunction((client) => {
      const rows = [...document.querySelectorAll("#exchanges tr")];
      return rows.some((row) => row.textContent.includes("ws_close")) && rows.every((row) => row.children[2].title === client);
    }, me);
    const rows = await page.$$eval("#exchanges tr", (all) => all.map((row) => [...row.children].map(({ textContent }) => textContent)));
    return { rows, complaints };
  }),
);
