/** Every link of the documents within the repository leads somewhere, and so does every document that a page should name. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { root } from "../cli/built.ts";

const DOCS = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
const PAGES = [
  ...["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "models/README.md"],
  ...["examples/browser/README.md", "examples/python/README.md"],
  ...DOCS.map((name) => `docs/${name}`),
];
const textOf = (page: string): string => readFileSync(join(root, page), "utf8");

/** Targets of links and pictures, without what follows a #; none of addresses. */
const linksOf = (text: string): string[] =>
  Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, to = ""]) => to.replace(/#.*$/, "")).filter(
    (to) => to !== "" && !/^[a-z]+:/.test(to),
  );

it.each(PAGES)("the links of %s", (page) => {
  const missing = linksOf(textOf(page)).filter((to) => !existsSync(join(root, dirname(page), to)));
  expect(missing).toEqual([]);
});

it("headings that a link names are there", () => {
  const slug = (heading: string): string =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-");
  for (const page of PAGES)
    for (const [, to = "", anchor = ""] of textOf(page).matchAll(/\]\(([^)#\s:]*)#([^)\s]+)\)/g)) {
      const target = to === "" ? page : join(dirname(page), to);
      const slugs = Array.from(textOf(target).matchAll(/^#+ (.+)$/gm), ([, heading = ""]) => slug(heading));
      expect(slugs, `${page}: ${to}#${anchor}`).toContain(anchor);
    }
});

it("every page of docs can be reached from the README", () => {
  const reached = new Set(["README.md"]);
  for (const page of reached)
    for (const to of linksOf(textOf(page))) {
      const target = join(dirname(page), to);
      if (target.endsWith(".md") && !target.startsWith("..") && existsSync(join(root, target))) reached.add(target);
    }
  expect(DOCS.map((name) => `docs/${name}`).filter((page) => !reached.has(page))).toEqual([]);
});
