/** The records of splits are the library's. */
export * from "../channels/split-record.ts";
