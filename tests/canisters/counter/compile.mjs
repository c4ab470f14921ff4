// Compiles a Motoko file: `node compile.mjs SOURCE OUT`.
import { readFileSync, writeFileSync } from "node:fs";
import motoko from "motoko";

const [source, out] = process.argv.slice(2);
motoko.write("main.mo", readFileSync(source, "utf8"));
writeFileSync(out, motoko.wasm("main.mo", "ic").wasm);
