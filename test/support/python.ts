/** A Python with numpy and pandas, for the tests of examples/python; UNBRAID_PYTHON names one. */
import { spawnSync } from "node:child_process";

const candidates = [process.env.UNBRAID_PYTHON ?? "", "python3", "/usr/bin/python3"].filter((name) => name !== "");

/** undefined where there is none, and what needs it is to be skipped. */
export const python = candidates.find((name) => spawnSync(name, ["-c", "import numpy, pandas"]).status === 0);
