// A real browser, driven by playwright-core: Debian's Chromium, which asks nobody at home for anything.
import { chromium } from "playwright-core";

/** Runs `use(browser)`, and ends the browser whatever comes of it. */
export const withBrowser = async (executable, use) => {
  const browser = await chromium.launch({
    executablePath: executable,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    return await use(browser);
  } finally {
    await browser.close();
  }
};

/** A new page, with all that it complains of, and requests for anything outside of `url`. */
export const newPage = async (browser, url, options) => {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(300_000);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) complaints.push(`asked for ${request.url()}`);
  });
  return { page, complaints };
};

/** Whether nothing has to be scrolled sideways. */
export const fits = (page) => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
