/** The folder of models, images and golden results that the maintainers keep beside the project; users do not have it. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../../../shared", import.meta.url));

/** Absent on a user's machine: tests that need it skip, and say so. */
export const sharedDir: string | undefined = existsSync(`${folder}/golden`) ? folder : undefined;
