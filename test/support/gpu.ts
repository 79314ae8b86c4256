/**
 * Adapters for tests: lavapipe and SwiftShader, those that this machine has.
 *
 * UNBRAID_TEST_ADAPTERS names others (a comma list of what `--adapter` takes); UNBRAID_REQUIRE_ADAPTER=1 turns one that is not
 * there into a failure, so that a run in CI cannot pass by skipping.
 */
import { openAdapter, type OpenAdapter } from "../../src/gpu/dawn/adapters.ts";

const wanted = (process.env.UNBRAID_TEST_ADAPTERS ?? "lavapipe,swiftshader")
  .split(",")
  .map((name) => name.trim())
  .filter((name) => name !== "");
const required = process.env.UNBRAID_REQUIRE_ADAPTER === "1";

async function present(name: string): Promise<boolean> {
  try {
    (await openAdapter({ name })).close();
    return true;
  } catch (error) {
    if (required)
      throw new Error(`UNBRAID_REQUIRE_ADAPTER is set, and the adapter "${name}" cannot be opened`, { cause: error });
    console.error(`note: tests on ${name} are skipped: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}

async function probe(): Promise<readonly string[]> {
  if (required && wanted.length === 0)
    throw new Error("UNBRAID_REQUIRE_ADAPTER is set, and UNBRAID_TEST_ADAPTERS names none");
  const found: string[] = [];
  for (const name of wanted) if (await present(name)) found.push(name);
  return found;
}

/** Names for `describe.each`; empty where there is no adapter: wrap in `describe.skipIf(testAdapters.length === 0)`. */
export const testAdapters: readonly string[] = await probe();

/** One of `testAdapters`, opened; the test closes it. It gives one device. */
export function openTestAdapter(name: string): Promise<OpenAdapter> {
  return openAdapter({ name });
}
