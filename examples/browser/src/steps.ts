/** What each step shows of its result. */
import type { Client } from "./client.ts";
import { count, downloadButton, element, save, showBytes, showSeconds, table } from "./dom.ts";
import type {
  Classified,
  FindSummary,
  FoundPair,
  Picture,
  ReportSummary,
  SplitSummary,
  StudySummary,
} from "./protocol.ts";

const percent = (p: number): string => `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`;

export function showClassified(place: HTMLElement, pictures: readonly Picture[], rows: readonly Classified[]): void {
  for (const image of place.querySelectorAll("img")) if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  place.replaceChildren(
    ...rows.map(({ path, top }, k) => {
      const source = pictures[k]?.source ?? "";
      const src = typeof source === "string" ? source : URL.createObjectURL(source);
      const bars = top.map(({ label, probability }) =>
        element(
          "li",
          {},
          element("span", { class: "label" }, label),
          element("span", { class: "value" }, percent(probability)),
          element("meter", { min: 0, max: 1, value: probability.toFixed(4), "aria-hidden": "true" }),
        ),
      );
      return element(
        "li",
        {},
        element(
          "figure",
          {},
          element("img", { src, alt: "", width: 96, height: 96, loading: "lazy" }),
          element("figcaption", {}, path),
        ),
        element("ol", {}, ...bars),
      );
    }),
  );
}

export function showStudy(client: Client, place: HTMLElement, s: StudySummary): void {
  const part = s.images + s.skipped < s.listed ? ` of ${s.listed}: the study is not complete` : "";
  const skipped = s.skipped === 0 ? "" : `, ${s.skipped} left out`;
  const time = s.seconds > 0 ? ` in ${showSeconds(s.seconds)}` : "";
  place.replaceChildren(
    element(
      "p",
      {},
      `${count(s.images, "picture")}${part} of ${count(s.classes, "class", "classes")} at ${s.layer}${skipped}${time}; ${showBytes(s.accumulatorBytes)} of sums.`,
    ),
    element(
      "p",
      { class: "buttons" },
      downloadButton("Download the study", () => client.call("download", "study")),
    ),
  );
}

export class FindStep {
  readonly #place: HTMLElement;
  readonly #changed: () => void;
  #rows: { readonly pair: FoundPair; readonly box: HTMLInputElement }[] = [];

  /** @param changed is called when another choice is made */
  constructor(place: HTMLElement, changed: () => void) {
    this.#place = place;
    this.#changed = changed;
  }

  /** What is chosen. */
  get targets(): { channel: number; classes: number[] }[] {
    return this.#rows
      .filter(({ box }) => box.checked)
      .map(({ pair: { channel, class1, class2 } }) => ({ channel, classes: [class1, class2] }));
  }

  clear(): void {
    this.#rows = [];
    this.#place.replaceChildren();
  }

  /** One pair a channel, that of the least cosine; the surest are chosen already. */
  show(found: FindSummary): void {
    const best = new Map<number, FoundPair>();
    for (const pair of found.pairs) {
      const there = best.get(pair.channel);
      if (there === undefined || pair.cosine < there.cosine) best.set(pair.channel, pair);
    }
    const pairs = [...best.values()].sort((a, b) => (a.q ?? 1) - (b.q ?? 1) || a.cosine - b.cosine);
    this.#rows = pairs.map((pair, k) => {
      const label = `Split channel ${pair.channel} between ${pair.name1} and ${pair.name2}`;
      const box = element("input", { type: "checkbox", "aria-label": label });
      box.checked = k < 8;
      box.addEventListener("change", this.#changed);
      return { pair, box };
    });
    const summary = element(
      "p",
      {},
      `${count(found.pairs.length, "pair")} in ${count(pairs.length, "channel")} of ${found.channels}, of ${count(found.candidates, "pair")} of classes that share a relevant channel: ${found.decision}.`,
    );
    if (pairs.length === 0) {
      const hint = "A larger gamma, or more pictures of each class, may find some.";
      this.#place.replaceChildren(summary, element("p", { class: "note" }, hint));
      return;
    }
    const rows = this.#rows.map(({ pair, box }) => [
      element("label", { class: "check" }, box, String(pair.channel)),
      pair.name1,
      pair.name2,
      pair.cosine.toFixed(3),
      pair.q === null ? "–" : pair.q.toPrecision(2),
    ]);
    const columns = ["channel", "class 1", "class 2", "cosine", "q"];
    this.#place.replaceChildren(summary, table("Channels to split, the surest first", columns, rows));
  }
}

export class SplitStep {
  readonly #client: Client;
  readonly #place: HTMLElement;
  done = false;

  constructor(client: Client, place: HTMLElement) {
    this.#client = client;
    this.#place = place;
  }

  clear(): void {
    this.done = false;
    this.#place.replaceChildren();
  }

  show(s: SplitSummary): void {
    this.done = true;
    const rows = s.rows.map((r) => [
      r.channel,
      r.concepts.join(" | "),
      r.rho === null ? "–" : String(r.rho),
      r.inputs.join(" | "),
      r.shared,
      r.score === null ? "–" : r.score.toFixed(2),
    ]);
    const columns = ["channel", "concepts", "rho", "inputs of each", "shared", "held-out score"];
    this.#place.replaceChildren(
      element(
        "p",
        {},
        `${count(s.rows.length, "channel")} of ${s.layer} split. By construction the network computes the same function; the next step checks that.`,
      ),
      table("The parts", columns, rows),
      ...(s.refused.length === 0
        ? []
        : [
            element("p", {}, "Left out, since no second concept is to be seen in them:"),
            element(
              "ul",
              {},
              ...s.refused.map((r) => element("li", {}, `channel ${r.channel}, ${r.concepts.join(" and ")}: ${r.why}`)),
            ),
          ]),
      element(
        "p",
        { class: "buttons" },
        downloadButton("Download the split network", () => this.#client.call("download", "model")),
        downloadButton("Download the manifest", () => this.#client.call("download", "manifest")),
      ),
    );
  }
}

export class ReportStep {
  readonly #place: HTMLElement;
  #url: string | undefined;

  constructor(place: HTMLElement) {
    this.#place = place;
  }

  clear(): void {
    if (this.#url !== undefined) URL.revokeObjectURL(this.#url);
    this.#url = undefined;
    this.#place.replaceChildren();
  }

  show({ html, sentence, holds }: ReportSummary): void {
    this.clear();
    const blob = new Blob([html], { type: "text/html" });
    const url = URL.createObjectURL(blob);
    this.#url = url;
    const download = element("button", { type: "button" }, "Download the report");
    download.addEventListener("click", () => {
      save("report.html", blob);
    });
    this.#place.replaceChildren(
      element("p", { class: holds ? "holds" : "error" }, sentence),
      element(
        "p",
        { class: "buttons" },
        download,
        element("a", { class: "button", href: url, target: "_blank" }, "Open it in a tab of its own"),
      ),
      // Scripts of the report run in a world of their own, without this page's.
      element("iframe", { src: url, title: "The report", sandbox: "allow-scripts" }),
    );
  }
}
