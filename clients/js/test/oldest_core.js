// Lets a test run with the oldest @icp-sdk/core that the package allows: node --import ./test/oldest_core.js TEST
import { register } from "node:module";

const hook = `export const resolve = (specifier, context, next) =>
  next(specifier.replace(/^@icp-sdk\\/core(?=\\/)/, "oldest-core"), context);`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
