/** The search as it goes where a GPU may be there: by the names that Dawn lists. */
import { describe, expect, test, vi } from "vitest";
import { openAdapter } from "../../src/gpu/dawn/adapters.ts";
import type * as DawnVulkan from "../../src/gpu/dawn/vulkan.ts";
import { withEnvironment } from "../../src/gpu/dawn/vulkan.ts";
import { unpackSwiftShader } from "../../src/gpu/dawn/swiftshader.ts";
import { testAdapters } from "../support/gpu.ts";

const { hardwareIsPossible } = vi.hoisted(() => ({ hardwareIsPossible: vi.fn(() => true) }));
vi.mock("../../src/gpu/dawn/vulkan.ts", async (original) => ({
  ...(await original<typeof DawnVulkan>()),
  hardwareIsPossible,
}));

test("variables are put back, the unset ones too, even after an error", () => {
  process.env.UNBRAID_TEST_A = "a";
  delete process.env.UNBRAID_TEST_B;
  const changes = { UNBRAID_TEST_A: undefined, UNBRAID_TEST_B: "b" };
  const seen = withEnvironment(changes, () => [process.env.UNBRAID_TEST_A, process.env.UNBRAID_TEST_B]);
  expect(seen).toEqual([undefined, "b"]);
  expect(() =>
    withEnvironment(changes, () => {
      throw new Error("inside");
    }),
  ).toThrow("inside");
  expect([process.env.UNBRAID_TEST_A, "UNBRAID_TEST_B" in process.env]).toEqual(["a", false]);
  delete process.env.UNBRAID_TEST_A;
});

describe.skipIf(!testAdapters.includes("lavapipe") || !testAdapters.includes("swiftshader")).each([true, false])(
  "the system has SwiftShader and lavapipe; a GPU may be there: %s (needs both adapters)",
  (possible) => {
    test("lavapipe is chosen, and SwiftShader when asked for", async () => {
      hardwareIsPossible.mockReturnValue(possible);
      vi.stubEnv("VK_ADD_DRIVER_FILES", (await unpackSwiftShader()).manifest);
      try {
        const lines: string[] = [];
        using first = await openAdapter({ log: (line) => lines.push(line) });
        expect(first.kind).toBe("lavapipe");
        expect(lines).toEqual([expect.stringMatching(/^adapter: llvmpipe.*Mesa.*\(lavapipe, a software adapter/)]);
        using shader = await openAdapter({ name: "Subzero" }); // part of the device's name
        expect(shader.kind).toBe("swiftshader");
      } finally {
        vi.unstubAllEnvs();
      }
    });
  },
);
