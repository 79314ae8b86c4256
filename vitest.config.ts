import { defineConfig } from "vitest/config";

// One process, one GPU test file at a time: software adapters use every core already, and Dawn dislikes threads.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 120_000,
    globalSetup: ["test/support/global-setup.ts"],
  },
});
