/** The version that package.json states. */
import { readFileSync } from "node:fs";

export function packageVersion(): string {
  const { version: v } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    version?: unknown;
  };
  return typeof v === "string" ? v : "unknown";
}
