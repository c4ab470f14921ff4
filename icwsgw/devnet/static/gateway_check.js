// What is wrong with a gateway's URL, as far as the page knows it before it connects.

const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);
const PORTS = { "ws:": "80", "http:": "80", "wss:": "443", "https:": "443" };

/** Host and port; all names of this machine are one. */
const place = ({ protocol, hostname, port }) => `${LOOPBACK.has(hostname) ? "this machine" : hostname}:${port || PORTS[protocol]}`;

/**
 * A sentence for the user, or null where nothing is known to be wrong.
 *
 * @param {string} text the URL that was entered
 * @param {string} page the URL of this page, which the replica serves
 * @param {string[]} gateways the URLs at which a gateway is known to listen
 */
export const mistakeIn = (text, page, gateways) => {
  let url;
  try {
    url = new URL(text);
  } catch {
    return `${text} is not a URL such as ws://127.0.0.1:8080`;
  }
  const where = gateways.length ? ` The gateway listens at ${gateways.join(" or ")}.` : "";
  if (url.protocol !== "ws:" && url.protocol !== "wss:") return `A gateway's URL begins with ws:// or wss://.${where}`;
  if (place(url) === place(new URL(page))) return `This is the port of the replica, which serves this page.${where}`;
  const known = gateways.map((each) => new URL(each)).filter((each) => place(each) === place(url));
  if (known.length && known.every((each) => each.protocol !== url.protocol)) {
    const [{ protocol }] = known;
    return `The gateway speaks ${protocol}// there, ${protocol === "ws:" ? "without" : "with"} TLS, and not ${url.protocol}//.`;
  }
  return null;
};
