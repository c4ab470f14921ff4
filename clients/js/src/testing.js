// A kit for tests in Node: a local network and a gateway in processes of their own. They need Python with icwsgw.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const START_MS = 120_000;
const STOP_MS = 30_000;
const POLL_MS = 50;
/** Attempts to start a program: another one may take a port between its choice and its use. */
const ATTEMPTS = 5;
const MOST_LINES = 10_000;

/** How fast the network answers unless configure() says otherwise. */
const DEFAULT_TIMES = {
  query_latency_ms: 0,
  call_latency_ms: 0,
  call_jitter_ms: 0,
  block_interval_ms: 0,
  gossip_ms: 0,
  lag_blocks: 0,
  v2_gone: false,
};

/**
 * @typedef {object} ProgramOptions
 * @property {string} [python] the interpreter that has icwsgw; the variable ICWS_PYTHON, or python3
 * @property {string[]} [options] of the program, for example ["--block-interval=1000"]
 */

/** @param {number} count @returns {Promise<number[]>} ports of this machine that nothing uses now */
const freePorts = async (count) => {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => /** @type {import("node:net").AddressInfo} */ (server.address()).port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
};

/** @param {number} port */
const loopback = (port) => `tcp:${port}:interface=127.0.0.1`;

/** @param {string | URL} file "FILE" or "FILE.wasm:FILE.did" */
const pathOf = (file) =>
  file instanceof URL
    ? fileURLToPath(file)
    : file
        .split(":")
        .map((each) => resolve(each))
        .join(":");

/** A program that did not start; the message has its last lines. */
export class StartFailed extends Error {}

/** A process of a program of icwsgw. It ends when this process ends, however that happens. */
class Program {
  /** @type {string[]} what it has printed, the last 10,000 lines */
  lines = [];
  /** @type {Error | null} */
  #error = null;
  #child;
  #ended;

  /** @param {string} python @param {string[]} args */
  constructor(python, args) {
    const variables = Object.entries(process.env).filter(([name]) => !name.startsWith("ICWS_"));
    this.#child = spawn(python, ["-m", "icwsgw.testing.child_program", ...args], {
      env: { ...Object.fromEntries(variables), PYTHONUNBUFFERED: "1" },
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child.stdin.on("error", () => {});
    for (const stream of [this.#child.stdout, this.#child.stderr]) this.#read(stream);
    this.#ended = new Promise((done) => {
      this.#child.once("close", done);
      this.#child.once("error", (error) => {
        this.#error = error;
        done(null);
      });
    });
  }

  /** @param {import("node:stream").Readable} stream */
  async #read(stream) {
    let rest = "";
    for await (const text of stream.setEncoding("utf8")) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      this.lines.push(...lines);
      this.lines.splice(0, this.lines.length - MOST_LINES);
    }
  }

  get isRunning() {
    return this.#child.exitCode === null && this.#child.signalCode === null && !this.#error;
  }

  /** @param {string} url answers 200 when the program is ready */
  async untilReady(url) {
    const deadline = Date.now() + START_MS;
    for (;;) {
      const running = this.isRunning;
      try {
        // without this process, it is another one that answers
        if ((await fetch(url)).ok && this.isRunning) return;
      } catch {
        // nothing listens there yet
      }
      if (!running || Date.now() > deadline) {
        await this.end("SIGKILL");
        if (this.#error) throw new StartFailed(`${this.#child.spawnfile} does not run: ${this.#error.message}`);
        const hint = this.lines.some((line) => line.includes("No module named 'icwsgw'") || line.includes("No module named icwsgw"))
          ? [`${this.#child.spawnfile} has no icwsgw: install it there, or set ICWS_PYTHON to the Python that has it.`]
          : [];
        throw new StartFailed(["it did not start:", ...this.lines.slice(-20), ...hint].join("\n"));
      }
      await pause(POLL_MS);
    }
  }

  /** @param {"SIGKILL"} [signal] at once */
  async end(signal) {
    if (signal) this.#child.kill(signal);
    this.#child.stdin.end();
    const late = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    await this.#ended;
    clearTimeout(late);
  }
}

/**
 * Starts a program on free ports.
 * @param {ProgramOptions} options
 * @param {number} count of ports
 * @param {(ports: number[]) => [string[], string]} command its arguments, and the URL that answers 200 when it is ready
 * @returns {Promise<{program: Program, ports: number[], python: string}>}
 */
const start = async ({ python = process.env.ICWS_PYTHON ?? "python3" }, count, command) => {
  for (let attempt = 1; ; attempt++) {
    const ports = await freePorts(count);
    const [args, url] = command(ports);
    const program = new Program(python, args);
    try {
      await program.untilReady(url);
      return { program, ports, python };
    } catch (error) {
      if (attempt === ATTEMPTS || !String(error).includes("already in use")) throw error;
    }
  }
};

/** A local network in a process of its own. */
export class Devnet {
  /** http:// URL */
  url;
  /** @type {Record<string, string>} ids by name, with those of the demo canisters echo, chat and ping */
  canisters;
  #program;

  /** @param {Program} program @param {string} url @param {Record<string, string>} canisters */
  constructor(program, url, canisters) {
    this.#program = program;
    this.url = url;
    this.canisters = canisters;
  }

  /** What the process has logged. */
  get lines() {
    return [...this.#program.lines];
  }

  /** @param {string} what @param {unknown} [value] */
  async #control(what, value) {
    const body = value === undefined ? {} : { method: "POST", body: JSON.stringify(value), headers: { "Content-Type": "application/json" } };
    const response = await fetch(`${this.url}/_/${what}`, body);
    const result = await response.json();
    if (!response.ok) throw new Error(result.error);
    return result;
  }

  /**
   * Injects a fault until clearFaults() or restore().
   * @param {string} kind such as "trap", "http", "hang"; docs/build/testing.md has all
   * @param {Record<string, unknown>} [fields] on, canister, method, count, ...
   */
  async fault(kind, fields = {}) {
    await this.#control("faults", { kind, ...fields });
  }

  /** Ends all faults; requests that hang get their connections ended. */
  async clearFaults() {
    await this.#control("faults", { clear: true });
  }

  /**
   * Moves the canisters' clock forward: acknowledgements and timers that become due run, each at its time. The clocks of
   * gateway and client stay, and certificates keep the real time.
   * @param {number} seconds
   * @returns {Promise<number>} by how many seconds the canisters' clock is now ahead of the others
   */
  async advance(seconds) {
    return (await this.#control("clock", { advance: seconds })).offset;
  }

  /** Changes how fast the network answers. @param {Partial<typeof DEFAULT_TIMES>} times */
  async configure(times) {
    await this.#control("config", times);
  }

  /** Upgrades a canister with the code that it has: clients get 4105. @param {string} canister */
  async reset(canister) {
    await this.#control("reset", { canister });
  }

  /** Stops a canister: it rejects calls and queries. @param {string} canister */
  async stopCanister(canister) {
    await this.#control("stop", { canister });
  }

  /** Starts a canister that was stopped. @param {string} canister */
  async startCanister(canister) {
    await this.#control("start", { canister });
  }

  /** @param {string} canister its name @returns {Promise<string[]>} what it has printed, and its traps */
  async logs(canister) {
    return (await this.#control("logs"))[canister].map((/** @type {{text: string}} */ { text }) => text);
  }

  /** Ends what tests have changed, except canisters' state and clock: faults, times, stopped canisters. */
  async restore() {
    await this.clearFaults();
    await this.#control("push", { stop: true });
    await this.configure(DEFAULT_TIMES);
    await this.startCanister("*");
  }

  /** Ends the process. */
  async stop() {
    await this.#program.end();
  }
}

/** A gateway in a process of its own. */
export class Gateway {
  /** ws:// URL for clients */
  url;
  /** http:// URL of its status page, /metrics and /health/ready */
  statusUrl;
  #devnet;
  #program;
  #python;
  #again;
  #data;

  /**
   * @param {Devnet} devnet
   * @param {Program} program
   * @param {string} python
   * @param {number[]} ports
   * @param {[string[], string]} again the command that starts it again
   * @param {string} data where its key is
   */
  constructor(devnet, program, python, ports, again, data) {
    this.#devnet = devnet;
    this.#program = program;
    this.#python = python;
    this.#again = again;
    this.#data = data;
    this.url = `ws://127.0.0.1:${ports[0]}`;
    this.statusUrl = `http://127.0.0.1:${ports[1]}`;
  }

  /** What the process has logged since its last start. */
  get lines() {
    return [...this.#program.lines];
  }

  /** Options of a CanisterSocket for a canister. @param {string} canister its name or id */
  places(canister) {
    return { gateway: this.url, network: this.#devnet.url, canister: this.#devnet.canisters[canister] ?? canister };
  }

  /** Stops it as a service manager does (clients are asked to move, or get 4100) and starts it again at the same address. */
  async restart() {
    await this.#program.end();
    await this.start();
  }

  /** Ends it at once: clients lose their connections. */
  async kill() {
    await this.#program.end("SIGKILL");
  }

  /** Starts it again after kill(); throws StartFailed if it runs. */
  async start() {
    if (this.#program.isRunning) throw new StartFailed("the gateway runs already: end it with kill() first");
    this.#program = new Program(this.#python, this.#again[0]);
    await this.#program.untilReady(this.#again[1]);
  }

  /** Ends the process, and forgets its key. */
  async stop() {
    await this.#program.end();
    await rm(this.#data, { recursive: true });
  }
}

/**
 * Starts a local network.
 * @param {ProgramOptions & {canisters?: Record<string, string | URL>}} [options] canisters: yours by name, files in
 *   WebAssembly or Python; "FILE.wasm:FILE.did" describes the interface
 * @returns {Promise<Devnet>}
 */
export const startDevnet = async (options = {}) => {
  const own = Object.entries(options.canisters ?? {}).map(([name, file]) => `--devnet-canister=${name}=${pathOf(file)}`);
  const { program, ports } = await start(options, 1, ([port]) => [
    ["icws-devnet", `--listen=${loopback(port)}`, ...own, ...(options.options ?? [])],
    `http://127.0.0.1:${port}/api/v2/status`,
  ]);
  const url = `http://127.0.0.1:${ports[0]}`;
  const { canisters } = await (await fetch(`${url}/_/info`)).json();
  return new Devnet(program, url, canisters);
};

/**
 * Starts a gateway in front of a local network.
 * @param {Devnet} devnet
 * @param {ProgramOptions} [options]
 * @returns {Promise<Gateway>}
 */
export const startGateway = async (devnet, options = {}) => {
  const data = await mkdtemp(join(tmpdir(), "icws-testing-"));
  const command = (/** @type {number[]} */ [clients, status]) =>
    /** @type {[string[], string]} */ ([
      [
        "icws",
        `--ic-network-url=${devnet.url}`,
        `--gateway-address=${loopback(clients)}`,
        `--prometheus-endpoint=${loopback(status)}`,
        `--data-dir=${data}`,
        "--drain-window=0",
        ...(options.options ?? []),
      ],
      `http://127.0.0.1:${status}/health/ready`,
    ]);
  try {
    const { program, ports, python } = await start(options, 2, command);
    return new Gateway(devnet, program, python, ports, command(ports), data);
  } catch (error) {
    await rm(data, { recursive: true });
    throw error;
  }
};
