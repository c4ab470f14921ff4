import { readFile, writeFile } from "node:fs/promises";
import { CanisterSocket, Ed25519KeyIdentity, IDL } from "icws-client";

const keyOf = async (file) => {
  try {
    return Ed25519KeyIdentity.fromParsedJson(JSON.parse(await readFile(file, "utf8")));
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
    const fresh = Ed25519KeyIdentity.generate();
    await writeFile(file, JSON.stringify(fresh), { mode: 0o600, flag: "wx" });
    return fresh;
  }
};

export const connect = async (places, file) =>
  new CanisterSocket({ ...places, identity: await keyOf(file), messageType: IDL.Record({ text: IDL.Text }) });
