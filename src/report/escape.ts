/** Texts of strangers in HTML. Everything goes through `markup`, which escapes what it is given unless it was made by it. */

/** Markup that is known to be safe. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toString(): string {
    return this.text;
  }
}

type Part = Html | string | number | undefined | readonly (Html | undefined)[];

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => ENTITIES[c] ?? "");

const show = (part: Part): string => {
  if (part === undefined) return "";
  if (part instanceof Html) return part.text;
  if (typeof part === "string" || typeof part === "number") return escapeHtml(String(part));
  return part.map((p) => p?.text ?? "").join("");
};

/** A template whose values are escaped: markup`<b>${label}</b>`. */
export const markup = (strings: TemplateStringsArray, ...parts: readonly Part[]): Html =>
  new Html(strings.map((s, k) => s + show(parts[k])).join(""));

/**
 * JSON that may stand inside a script element: no "<" can end it or begin a comment. U+2028 and U+2029 are line ends to
 * old parsers.
 */
export const scriptJson = (value: unknown): Html =>
  new Html(
    JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`),
  );

/** A data: URI of an image, or undefined: nothing else may stand in `src`, lest the page ask a server. */
export const imageUri = (text: string): string | undefined =>
  /^data:image\/(png|jpeg|webp);base64,[A-Za-z0-9+/]*={0,2}$/.test(text) ? text : undefined;
