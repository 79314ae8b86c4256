/** All shaders that are embedded: the operators', and those that stand by themselves. */
import * as generated from "../../src/shaders.generated.ts";

const { shaders, ...apart } = generated;

/** Name and code. */
export const embeddedShaders: readonly (readonly [string, string])[] = [
  ...Object.entries(shaders),
  ...Object.values(apart).map(({ name, code }) => [name, code] as const),
];
