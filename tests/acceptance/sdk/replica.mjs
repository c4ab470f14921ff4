// The control interface of the local replica (icwsgw/devnet/control_api.py).

/** Seconds between two acknowledgement rounds of a replica with ROUNDS_BY_CLOCK (tests/acceptance/conftest.py). */
const ROUND_SECONDS = 3_600;

/** Posts a request to the control interface of the replica at `network`. */
export const control = async (network, path, body) => {
  const answer = await fetch(`${network}/_/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
};

/** Moves the canisters' clock to their next acknowledgement round. */
export const acknowledge = (network) => control(network, "clock", { advance: ROUND_SECONDS });
