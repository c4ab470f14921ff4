// How a script talks to pytest: parameters as one JSON argument, one JSON object a line on stdout.

export const params = JSON.parse(process.argv[2] ?? "{}");

const plain = (_key, value) => {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return hex(value);
  return value;
};

export const hex = (bytes) => Buffer.from(bytes).toString("hex");
export const unhex = (text) => new Uint8Array(Buffer.from(text, "hex"));

let last = false;

/** Prints an object. With `written`, it is the last one, and `written` is called when the pipe has taken all of it. */
export const emit = (object, written) => {
  if (last) return;
  last = written !== undefined;
  process.stdout.write(JSON.stringify(object, plain) + "\n", written);
};

/** On a machine that is busy with other tests too, what comes at all may take this many times as long. */
const PATIENCE = 4;

/** The promise's value, or an error that names what did not come within `usual` milliseconds of a machine at rest. */
export const within = (usual, what, promise) => {
  const ms = usual * PATIENCE;
  let timer;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/** A promise together with what resolves it. */
export const deferred = () => {
  let resolve, reject;
  const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
};

/** Items that come in order and are asked for in order, whoever is first. */
export class Inbox {
  #items = [];
  #askers = [];
  #failure = null;

  put(item) {
    const asker = this.#askers.shift();
    if (asker) asker.resolve(item);
    else this.#items.push(item);
  }

  fail(error) {
    this.#failure = error;
    for (const asker of this.#askers.splice(0)) asker.reject(error);
  }

  next(ms = 30_000) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    if (this.#failure) return Promise.reject(this.#failure);
    const asker = deferred();
    this.#askers.push(asker);
    return within(ms, "next message", asker.promise);
  }

  get size() {
    return this.#items.length;
  }
}

/** Runs one script to its end: its return value is the last line, an error exits with status 1. */
export const main = async (run) => {
  try {
    emit({ event: "result", ...(await run(params)) }, () => process.exit(0));
  } catch (error) {
    const message = { event: "error", message: String(error?.message ?? error), stack: String(error?.stack ?? "") };
    emit(message, () => process.exit(1));
  }
};
