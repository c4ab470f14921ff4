export type Reconnect = "never" | "again" | "later" | "if_opened";
/** @typedef {"never" | "again" | "later" | "if_opened"} Reconnect whether to connect again after a code */
/** @type {Record<number, {name: string, message: string, hint: string, reconnect: Reconnect}>} */
export declare const CLOSE_CODES: Record<number, {
    name: string;
    message: string;
    hint: string;
    reconnect: Reconnect;
}>;
/** What to do about a network's error code in a reason. @type {Record<string, string>} */
export declare const REJECT_HINTS: Record<string, string>;
