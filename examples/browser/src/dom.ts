/** Making elements: texts of strangers are always text, never markup. */

type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;
type Child = Node | string | number;

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.map((child) => (typeof child === "number" ? String(child) : child)));
  return made;
}

/** The element with this id, which index.html has. */
export function byId<T extends HTMLElement>(id: string, kind: abstract new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new Error(`the page has no ${kind.name} "${id}"`);
}

/** A form's control of this name. */
export function control<T extends HTMLElement>(form: HTMLFormElement, name: string, kind: abstract new () => T): T {
  const found = form.elements.namedItem(name);
  if (found instanceof kind) return found;
  throw new Error(`the form ${form.id} has no ${kind.name} "${name}"`);
}

/** What a person typed into a field, or null where it is empty. */
export function numberIn(form: HTMLFormElement, name: string): number | null {
  const text = control(form, name, HTMLInputElement).value.trim();
  return text === "" ? null : Number(text);
}

export function table(
  caption: string,
  columns: readonly string[],
  rows: readonly (readonly Child[])[],
): HTMLDivElement {
  const cells = (row: readonly Child[]): HTMLTableRowElement =>
    element(
      "tr",
      {},
      ...row.map((cell, k) => (k === 0 ? element("th", { scope: "row" }, cell) : element("td", {}, cell))),
    );
  return element(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...rows.map(cells)),
    ),
  );
}

/** Terms and what they are. */
export function facts(list: HTMLDListElement, entries: readonly (readonly [string, string])[]): void {
  list.replaceChildren(
    ...entries.map(([term, what]) => element("div", {}, element("dt", {}, term), element("dd", {}, what))),
  );
}

/** A button that hands a file to the browser's downloads. */
export function downloadButton(
  text: string,
  file: () => Promise<{ name: string; bytes: BlobPart }>,
): HTMLButtonElement {
  const button = element("button", { type: "button" }, text);
  button.addEventListener("click", () => {
    void file().then(({ name, bytes }) => {
      save(name, new Blob([bytes]));
    });
  });
  return button;
}

export function save(name: string, blob: Blob): void {
  const url = URL.createObjectURL(blob);
  const link = element("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  // The download has begun by then; it holds the data on its own.
  setTimeout(() => {
    URL.revokeObjectURL(url);
  }, 60_000);
}

export const count = (n: number, one: string, many = `${one}s`): string =>
  `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

export function showBytes(bytes: number): string {
  if (bytes < 1e3) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toPrecision(3)} kB` : `${(bytes / 1e6).toPrecision(3)} MB`;
}

/** 42 s, 3 min 5 s, 2 h 10 min. */
export function showSeconds(seconds: number): string {
  const s = Math.ceil(seconds);
  if (s < 60) return `${s} s`;
  return s < 3600
    ? `${Math.floor(s / 60)} min ${s % 60} s`
    : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}
