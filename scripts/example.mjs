// All of it on the network and the images that ship with the repository, ending in a report to look at: `unbraid demo`.
// Usage: npm run example [-- --out DIR --json ...]
import { main } from "../dist/cli/main.js";

process.exitCode = await main(["demo", ...process.argv.slice(2)]);
