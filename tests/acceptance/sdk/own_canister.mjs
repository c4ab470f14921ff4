// Two tabs of the demo page talk through a canister of one's own, which is upgraded meanwhile.
import { newPage, withBrowser } from "./browser.mjs";
import { emit, main } from "./report.mjs";

await main(async ({ url, gateway, canister, executable }) =>
  withBrowser(executable, async (browser) => {
    const tab = async () => {
      const { page, complaints } = await newPage(browser, url, {});
      await page.goto(`${url}/?gateway=${encodeURIComponent(gateway)}&canister=${canister}`);
      await page.waitForSelector("body[data-ready=yes]");
      await page.click("#open");
      await page.waitForSelector("#state[data-state=open]");
      return { page, complaints };
    };
    const hears = ({ page }, text) =>
      page.waitForFunction((text) => [...document.querySelectorAll("#chat li")].some((item) => item.textContent.startsWith(text)), text);
    const says = async ({ page }, text) => {
      await page.fill("#text", text);
      await page.click("#send");
    };

    const [one, other] = [await tab(), await tab()];
    await says(one, "hello from one tab");
    await Promise.all([one, other].map((each) => hears(each, "hello from one tab")));
    await says(other, "and from the other");
    await Promise.all([one, other].map((each) => hears(each, "and from the other")));
    await one.page.waitForFunction(() => document.getElementById("log").textContent.includes("is here"));
    const log = await one.page.textContent("#log");

    // The page knows a new session by its client nonce.
    const nonces = await Promise.all([one, other].map(({ page }) => page.textContent("#client-nonce")));
    emit({ event: "talking" });
    await Promise.all(
      [one, other].map(({ page }, i) =>
        page.waitForFunction((nonce) => document.getElementById("client-nonce").textContent !== nonce, nonces[i], { timeout: 120_000 }),
      ),
    );
    await Promise.all([one, other].map(({ page }) => page.waitForSelector("#state[data-state=open]")));
    await says(one, "after the upgrade");
    await Promise.all([one, other].map((each) => hears(each, "after the upgrade")));
    const notes = await one.page.$$eval("#chat li.note", (items) => items.map((item) => item.textContent));
    return { log, notes, complaints: [...one.complaints, ...other.complaints] };
  }),
);
