// examples/echo.html in a real browser: says hello, and what comes back.
import { newPage, withBrowser } from "./browser.mjs";
import { main } from "./report.mjs";

await main(async ({ url, executable }) =>
  withBrowser(executable, async (browser) => {
    const { page } = await newPage(browser, url, {});
    await page.goto(url);
    await page.waitForFunction(() => document.getElementById("state").textContent === "open");
    await page.fill("#text", "hello");
    await page.press("#text", "Enter");
    await page.waitForSelector("#received li");
    return { received: await page.textContent("#received li"), state: await page.textContent("#state") };
  }),
);
