import { sharedDir } from "./shared.ts";

export default function setup(): void {
  if (sharedDir === undefined)
    console.error("note: ../shared is not there; tests that need its models and golden results are skipped");
}
