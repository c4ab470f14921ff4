// The pages of examples/ in a real browser.
import { newPage, withBrowser } from "./browser.mjs";
import { main } from "./report.mjs";

const text = (page, id) => page.textContent(`#${id}`);
const until = (page, id, words) =>
  page.waitForFunction(([id, words]) => document.getElementById(id).textContent.includes(words), [id, words]);

const dashboard = async (open, url) => {
  const [one, other] = [await open(url), await open(url)];
  await until(other, "visitors", "2");
  await one.click("text=coffee");
  await one.click("text=coffee");
  await one.click("text=cake");
  await until(other, "orders", "coffee: 2");
  await until(other, "orders", "cake: 1");
  return text(other, "orders");
};

const game = async (open, url) => {
  const page = await open(url);
  await page.evaluate(() => {
    globalThis.ticks = [];
    const tick = document.getElementById("tick");
    const shown = (records) => ticks.push(...records.map(({ addedNodes: [node] }) => Number(node.textContent)));
    new MutationObserver(shown).observe(tick, { childList: true });
  });
  await page.keyboard.down("ArrowRight");
  await page.waitForFunction(() => ticks.length > 10 && parseInt(document.getElementById("board").ariaLabel.match(/at (\d+)/)[1]) > 230);
  await page.keyboard.up("ArrowRight");
  const { ticks, label } = await page.evaluate(() => ({ ticks, label: document.getElementById("board").ariaLabel }));
  return { steps: [...new Set(ticks.slice(1).map((tick, i) => tick - ticks[i]))], y: label.split(", ")[1] };
};

const chat = async (open, url) => {
  const [one, other] = [await open(url), await open(url)];
  await one.fill("#text", "hello everybody");
  await one.press("#text", "Enter");
  await until(other, "received", "hello everybody");
  return text(other, "received");
};

// what esbuild made of the programs of the page on identities
const identities = async (open, url) => {
  const page = await open(url, "made");
  return page.evaluate(() => globalThis.made);
};

// what esbuild made of the program of the page on the SDK
const sdk = async (open, url) => {
  const page = await open(url, "logged");
  await page.waitForFunction(() => globalThis.logged.length === 2);
  return page.evaluate(() => globalThis.logged);
};

await main(async ({ executable, urls }) =>
  withBrowser(executable, async (browser) => {
    const open = async (url, ready) => {
      const { page } = await newPage(browser, url, {});
      await page.goto(url);
      if (ready) await page.waitForFunction((name) => globalThis[name], ready);
      else await page.waitForFunction(() => document.getElementById("state").textContent === "open");
      return page;
    };
    const results = {};
    for (const [name, act] of Object.entries({ dashboard, game, chat, identities, sdk })) {
      results[name] = await act(open, urls[name]);
      // a page that draws all the time would slow the next one down
      await Promise.all(browser.contexts().map((context) => context.close()));
    }
    return results;
  }),
);
