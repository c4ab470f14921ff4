export type Reconnect = "never" | "again" | "later" | "if_opened";
/** @typedef {"never" | "again" | "later" | "if_opened"} Reconnect whether to connect again after a code */
/** @type {Record<number, {name: string, message: string, hint: string, reconnect: Reconnect}>} */
export declare const CLOSE_CODES: Record<number, {
    name: string;
    message: string;
    hint: string;
    reconnect: Reconnect;
}>;
