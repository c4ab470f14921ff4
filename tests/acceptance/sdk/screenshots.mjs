// Pictures of a page for the docs; scripts/screenshots.py says which.
import { newPage, withBrowser } from "./browser.mjs";
import { main } from "./report.mjs";

await main(async ({ url, executable, shots }) =>
  withBrowser(executable, async (browser) => {
    for (const { path, width, height, dark, phone, whole } of shots) {
      const { page } = await newPage(browser, url, {
        viewport: { width, height }, colorScheme: dark ? "dark" : "light", isMobile: phone, hasTouch: phone, deviceScaleFactor: phone ? 2 : 1,
      });
      await page.goto(url);
      await page.screenshot({ path, fullPage: whole });
    }
    return {};
  }),
);
