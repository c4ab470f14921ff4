// Writes the file for script tags, `node build.mjs FILE`: this client and the parts of its peer that it uses.
// `node build.mjs --size` prints how many bytes the client adds to a page that has the peer, plain and gzipped.
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const options = {
  absWorkingDir: import.meta.dirname,
  entryPoints: ["src/index.js"],
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  legalComments: "none",
  banner: { js: "// Made by clients/js/build.mjs from clients/js/src and @icp-sdk/core (Apache-2.0)." },
  write: false,
};

const [target] = process.argv.slice(2);
if (target === "--size") {
  const [{ contents }] = (await build({ ...options, external: ["@icp-sdk/core"] })).outputFiles;
  console.log(JSON.stringify({ bytes: contents.length, gzipped: gzipSync(contents).length }));
} else {
  await build({ ...options, write: true, outfile: target });
}
