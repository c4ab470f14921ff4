import { defineConfig } from "vite";

export default defineConfig({
  // names of Node that the SDK and @dfinity/agent use
  define: { global: "globalThis", "process.env.LOG_LEVEL": '"info"' },
});
