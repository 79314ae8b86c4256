/**
 * The report: one HTML file that asks nothing of any server. What can stand still is written here; the figures that
 * answer to the reader (page/) are drawn by the script that the file carries, from the numbers that it carries.
 */
import { PAGE_SCRIPT, PAGE_STYLE } from "../page.generated.ts";
import { digestOf } from "../relevance/digest.ts";
import type { ReportChannel, ReportData } from "./data.ts";
import { Html, markup, scriptJson } from "./escape.ts";
import {
  galleriesSection,
  inputsSection,
  mapSection,
  proofSection,
  tableSection,
  visualisedSection,
} from "./sections.ts";
import { similaritySection } from "./similarity.ts";

/** @returns the whole file as text */
export function reportHtml(data: ReportData): string {
  // Only our own script may run, whatever a label might smuggle in, and nothing may be fetched.
  const policy = `default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-${base64Digest(PAGE_SCRIPT)}'; base-uri 'none'; form-action 'none'`;
  const page = markup`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content="${policy}" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${data.title}</title>
        <style>${raw(PAGE_STYLE)}</style>
      </head>
      <body>
        <a class="skip" href="#main">Skip to the findings</a>
        <header>
          <h1>${data.title}</h1>
          <ul class="findings">
            ${data.findings.map((line) => markup`<li>${line}</li>`)}
          </ul>
          <nav aria-label="Contents">
            <ul>
              ${contents(data)}
            </ul>
          </nav>
        </header>
        <main id="main">
          ${data.channels.map((channel, k) => channelSection(data, channel, k))} ${mapSection(data.map)}
          ${data.similarity === undefined ? undefined : similaritySection(data.similarity)} ${proofSection(data)}
          ${inputsSection(data)}
        </main>
        <script type="application/json" id="data">
          ${scriptJson({ channels: data.channels.map(({ channel, interactive }) => ({ channel, interactive })), pictures: data.pictures })}
        </script>
        <script>${raw(PAGE_SCRIPT)}</script>
      </body>
    </html> `;
  return page.text;
}

const raw = (text: string): Html => new Html(text);

const base64Digest = (text: string): string => btoa(String.fromCharCode(...digestOf(new TextEncoder().encode(text))));

function contents(data: ReportData): Html[] {
  const entries = data.channels.map(({ channel }, k): [id: string, title: string] => [
    `channel-${k}`,
    `Channel ${channel}`,
  ]);
  if (data.map.length > 0) entries.push(["layers", "Layers"]);
  if (data.similarity !== undefined) entries.push(["similarity", "Class similarity"]);
  if (data.proof !== undefined) entries.push(["proof", "Proof"]);
  entries.push(["inputs", "How this was made"]);
  return entries.map(([id, title]) => markup`<li><a href="#${id}">${title}</a></li>`);
}

function channelSection(data: ReportData, c: ReportChannel, k: number): Html {
  const id = `channel-${k}`;
  const live =
    c.interactive === undefined
      ? markup`<p class="note">The numbers of this channel's figures are not in the file (rule "${c.rule}").</p>`
      : markup`<div class="live" data-channel="${k}">
          <noscript
            ><p class="note">The figures of this section are drawn by a script that the file carries.</p></noscript
          >
        </div>`;
  const where = `channel ${c.channel}`;
  return markup`<section id="${id}" aria-labelledby="${id}-title">
    <h2 id="${id}-title">
      Channel ${c.channel} <span class="muted">of ${data.layer}${c.why === "" ? "" : `: ${c.why}`}</span>
    </h2>
    <p>${c.summary}</p>
    ${live}
    ${c.tables.length + c.points.length === 0 ? undefined : markup`<h3>The evidence, beside its nulls</h3>`}
    ${c.points.length === 0 ? undefined : markup`<ul>${c.points.map((point) => markup`<li>${point}</li>`)}</ul>`}
    ${c.tables.map((t) => tableSection(t, where))} ${galleriesSection(data, c)}
    ${c.visualised === undefined ? undefined : visualisedSection(c.visualised, where)}
  </section> `;
}
