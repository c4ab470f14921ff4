// Verifies the messages that pytest made: which error each one gets.
import { Principal } from "@icp-sdk/core/principal";
import { Verifier } from "../src/verify.js";
import { main, unhex } from "../../../tests/acceptance/sdk/report.mjs";

await main(async ({ cases }) => {
  const outcomes = {};
  for (const [name, { canister, rootKey, key, content, cert, tree, at }] of Object.entries(cases)) {
    const verifier = new Verifier({ canister: Principal.fromText(canister), rootKey: unhex(rootKey) });
    const frame = { key, content: unhex(content), cert: unhex(cert), tree: unhex(tree) };
    const verify = () => verifier.verify(frame, at).then(() => "verified", (error) => error.code ?? String(error));
    const first = await verify();
    const second = await verify(); // remembered or not, the outcome is the same
    outcomes[name] = first === second ? first : `${first}, then ${second}`;
  }
  return { outcomes };
});
