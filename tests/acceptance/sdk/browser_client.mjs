// The JavaScript client in a real browser, on the devnet's page: a kept identity, TLS, and a gateway that restarts.
import { newPage, withBrowser } from "./browser.mjs";
import { emit, main } from "./report.mjs";

await main(async ({ gateway, network, canister, executable }) =>
  withBrowser(executable, async (browser) => {
    const { page } = await newPage(browser, network, { ignoreHTTPSErrors: true });
    page.setDefaultTimeout(300_000);
    await page.goto(network);

    /** Who this browser is by a name. */
    const principal = (name) =>
      page.evaluate(async (name) => (await (await import("/icws-client.js")).keptIdentity(name)).getPrincipal().toText(), name);
    const kept = await Promise.all([principal("one"), principal("one")]);
    const other = await principal("other");
    await page.reload();
    const afterReload = await principal("one");

    const connected = await page.evaluate(
      async ([gateway, canister]) => {
        const { CanisterSocket, IDL, keptIdentity } = await import("/icws-client.js");
        globalThis.disconnects = [];
        globalThis.socket = new CanisterSocket({
          gateway,
          network: location.origin,
          canister,
          identity: await keptIdentity("one"),
          messageType: IDL.Record({ text: IDL.Text }),
          pauses: { firstMs: 100, laterMs: 100, mostMs: 500 },
          resynchronize: () => {},
        });
        socket.ondisconnect = ({ code }) => disconnects.push(code);
        await socket.opened;
        return socket.principal.toText();
      },
      [gateway, canister],
    );
    const ask = (text) => page.evaluate(async (text) => (await socket.request({ text })).text, text);
    const first = await ask("before");
    emit({ event: "ready" }); // the gateway stops now
    await page.waitForFunction(() => disconnects.length > 0 && socket.state === "open");
    const second = await ask("after");
    const end = await page.evaluate(async () => {
      socket.close();
      const { code, unsent } = await socket.closed;
      return { code, unsent, disconnects };
    });
    return { kept, other, afterReload, connected, first, second, ...end };
  }),
);
