// Made by scripts/close_codes.py from icwsgw/close_codes.py and icwsgw/close_hints.py.

/** @typedef {"never" | "again" | "later" | "if_opened"} Reconnect whether to connect again after a code */

/** @type {Record<number, {name: string, message: string, hint: string, reconnect: Reconnect}>} */
export const CLOSE_CODES = {
  1000: {"name": "NORMAL", "message": "the connection was closed normally", "hint": "", "reconnect": "never"},
  1001: {"name": "GOING_AWAY", "message": "the gateway shut down", "hint": "Connect again, to another gateway if there is one.", "reconnect": "again"},
  1002: {"name": "PROTOCOL_ERROR", "message": "the gateway saw a protocol error", "hint": "", "reconnect": "never"},
  1003: {"name": "NOT_BINARY", "message": "messages must be binary", "hint": "Send binary messages.", "reconnect": "never"},
  1005: {"name": "", "message": "the connection was closed without a code", "hint": "", "reconnect": "again"},
  1006: {"name": "", "message": "the connection broke: is the gateway running?", "hint": "Connect again.", "reconnect": "again"},
  1007: {"name": "UNDECODABLE", "message": "the gateway could not decode a message", "hint": "", "reconnect": "never"},
  1008: {"name": "POLICY", "message": "a message took too long, or the operator closed the connection", "hint": "", "reconnect": "later"},
  1009: {"name": "TOO_BIG", "message": "a message is too long", "hint": "", "reconnect": "never"},
  1010: {"name": "", "message": "the client requires an extension that the gateway lacks", "hint": "", "reconnect": "never"},
  1011: {"name": "INTERNAL", "message": "the gateway failed", "hint": "Report it with the session id.", "reconnect": "later"},
  1012: {"name": "", "message": "the service restarts", "hint": "", "reconnect": "later"},
  1013: {"name": "OVERLOADED", "message": "the gateway is overloaded: try later", "hint": "Connect again later.", "reconnect": "later"},
  4000: {"name": "", "message": "the client gave up", "hint": "", "reconnect": "later"},
  4001: {"name": "", "message": "the canister closed the connection", "hint": "", "reconnect": "never"},
  4100: {"name": "DRAINING", "message": "the gateway is draining: connect again", "hint": "Connect again, to another gateway if there is one.", "reconnect": "again"},
  4101: {"name": "OPEN_REFUSED", "message": "the canister or the network refused to open", "hint": "", "reconnect": "if_opened"},
  4102: {"name": "EXPIRED", "message": "a request had expired: check this device's clock", "hint": "Set the clock; the reason says how far it is off. If it is right, connect again.", "reconnect": "later"},
  4103: {"name": "WRONG_GATEWAY", "message": "ws_open named another gateway", "hint": "Use the principal of this connection's handshake message.", "reconnect": "never"},
  4104: {"name": "TOO_SLOW", "message": "messages were read too slowly", "hint": "", "reconnect": "again"},
  4105: {"name": "CANISTER_RESET", "message": "the canister was reset: connect again", "hint": "Connect again.", "reconnect": "again"},
  4106: {"name": "CANISTER_SILENT", "message": "the canister does not answer", "hint": "Connect again later.", "reconnect": "later"},
  4107: {"name": "NOT_OPENED", "message": "the connection was not opened in time", "hint": "", "reconnect": "later"},
  4108: {"name": "RATE_LIMIT", "message": "too many messages at once", "hint": "Send less at once.", "reconnect": "later"},
  4109: {"name": "REPLACED", "message": "a newer connection of yours took its place", "hint": "Do not reconnect automatically.", "reconnect": "never"},
  4110: {"name": "CANISTER_NOT_ALLOWED", "message": "this gateway does not serve that canister", "hint": "", "reconnect": "never"},
  4111: {"name": "MESSAGE_REFUSED", "message": "the network or the canister refused a message", "hint": "Connect again.", "reconnect": "again"},
  4112: {"name": "MESSAGES_MISSED", "message": "a message of the canister could not be read", "hint": "Connect again.", "reconnect": "again"},
  4113: {"name": "TOO_FAST", "message": "messages come faster than the canister executes them", "hint": "Send less often, or several things in one message.", "reconnect": "later"},
};

/** What to do about a network's error code in a reason. @type {Record<string, string>} */
export const REJECT_HINTS = {
  "IC0301": "Check the canister id, and that the network is the one that the canister is on.",
  "IC0207": "Give the canister cycles: it has none to run on.",
  "IC0508": "Start the canister: it is stopped.",
  "IC0509": "Start the canister: it is being stopped.",
  "IC0536": "Add the methods of the WebSocket CDK to the canister.",
  "IC0537": "Install the canister's code: it has none.",
  "IC0503": "Look at the canister's log: it trapped. A message of another Candid type than it expects is one cause."
};
