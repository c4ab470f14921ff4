/** How fast the network answers unless configure() says otherwise. */
declare const DEFAULT_TIMES: {
    query_latency_ms: number;
    call_latency_ms: number;
    call_jitter_ms: number;
    block_interval_ms: number;
    gossip_ms: number;
    lag_blocks: number;
    v2_gone: boolean;
};
export type ProgramOptions = {
    /**
     * the interpreter that has icwsgw; the variable ICWS_PYTHON, or python3
     */
    python?: string;
    /**
     * of the program, for example ["--block-interval=1000"]
     */
    options?: string[];
};
/** A program that did not start; the message has its last lines. */
export declare class StartFailed extends Error {
}
/** A process of a program of icwsgw. It ends when this process ends, however that happens. */
declare class Program {
    #private;
    /** @type {string[]} what it has printed, the last 10,000 lines */
    lines: string[];
    /** @param {string} python @param {string[]} args */
    constructor(python: string, args: string[]);
    get isRunning(): boolean;
    /** @param {string} url answers 200 when the program is ready */
    untilReady(url: string): Promise<void>;
    /** @param {"SIGKILL"} [signal] at once */
    end(signal?: "SIGKILL"): Promise<void>;
}
/** A local network in a process of its own. */
export declare class Devnet {
    #private;
    /** http:// URL */
    url: string;
    /** @type {Record<string, string>} ids by name, with those of the demo canisters echo, chat and ping */
    canisters: Record<string, string>;
    /** @param {Program} program @param {string} url @param {Record<string, string>} canisters */
    constructor(program: Program, url: string, canisters: Record<string, string>);
    /** What the process has logged. */
    get lines(): string[];
    /**
     * Injects a fault until clearFaults() or restore().
     * @param {string} kind such as "trap", "http", "hang"; docs/build/testing.md has all
     * @param {Record<string, unknown>} [fields] on, canister, method, count, ...
     */
    fault(kind: string, fields?: Record<string, unknown>): Promise<void>;
    /** Ends all faults; requests that hang get their connections ended. */
    clearFaults(): Promise<void>;
    /**
     * Moves the canisters' clock forward: acknowledgements and timers that become due run, each at its time. The clocks of
     * gateway and client stay, and certificates keep the real time.
     * @param {number} seconds
     * @returns {Promise<number>} by how many seconds the canisters' clock is now ahead of the others
     */
    advance(seconds: number): Promise<number>;
    /** Changes how fast the network answers. @param {Partial<typeof DEFAULT_TIMES>} times */
    configure(times: Partial<typeof DEFAULT_TIMES>): Promise<void>;
    /** Upgrades a canister with the code that it has: clients get 4105. @param {string} canister */
    reset(canister: string): Promise<void>;
    /** Stops a canister: it rejects calls and queries. @param {string} canister */
    stopCanister(canister: string): Promise<void>;
    /** Starts a canister that was stopped. @param {string} canister */
    startCanister(canister: string): Promise<void>;
    /** @param {string} canister its name @returns {Promise<string[]>} what it has printed, and its traps */
    logs(canister: string): Promise<string[]>;
    /** Ends what tests have changed, except canisters' state and clock: faults, times, stopped canisters. */
    restore(): Promise<void>;
    /** Ends the process. */
    stop(): Promise<void>;
}
/** A gateway in a process of its own. */
export declare class Gateway {
    #private;
    /** ws:// URL for clients */
    url: string;
    /** http:// URL of its status page, /metrics and /health/ready */
    statusUrl: string;
    /**
     * @param {Devnet} devnet
     * @param {Program} program
     * @param {string} python
     * @param {number[]} ports
     * @param {[string[], string]} again the command that starts it again
     * @param {string} data where its key is
     */
    constructor(devnet: Devnet, program: Program, python: string, ports: number[], again: [string[], string], data: string);
    /** What the process has logged since its last start. */
    get lines(): string[];
    /** Options of a CanisterSocket for a canister. @param {string} canister its name or id */
    places(canister: string): {
        gateway: string;
        network: string;
        canister: string;
    };
    /** Stops it as a service manager does (clients are asked to move, or get 4100) and starts it again at the same address. */
    restart(): Promise<void>;
    /** Ends it at once: clients lose their connections. */
    kill(): Promise<void>;
    /** Starts it again after kill(); throws StartFailed if it runs. */
    start(): Promise<void>;
    /** Ends the process, and forgets its key. */
    stop(): Promise<void>;
}
/**
 * Starts a local network.
 * @param {ProgramOptions & {canisters?: Record<string, string | URL>}} [options] canisters: yours by name, files in
 *   WebAssembly or Python; "FILE.wasm:FILE.did" describes the interface
 * @returns {Promise<Devnet>}
 */
export declare const startDevnet: (options?: ProgramOptions & {
    canisters?: Record<string, string | URL>;
}) => Promise<Devnet>;
/**
 * Starts a gateway in front of a local network.
 * @param {Devnet} devnet
 * @param {ProgramOptions} [options]
 * @returns {Promise<Gateway>}
 */
export declare const startGateway: (devnet: Devnet, options?: ProgramOptions) => Promise<Gateway>;
export {};
