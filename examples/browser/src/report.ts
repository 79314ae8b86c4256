/** The report: one HTML file, which asks nothing of any server. */
import { reportHtml, type Gpu, type PlannedSplit, type ReportData, type Study, type WrittenSplit } from "unbraid";
import type { Network } from "./network.ts";
import type { Listed } from "./pictures.ts";
import type { Answer, Progress } from "./protocol.ts";
import { verifySplit } from "./verification.ts";

export interface ReportSource {
  readonly network: Network;
  readonly studied: { readonly file: string; readonly study: Study };
  readonly split: { readonly written: WrittenSplit; readonly planned: readonly PlannedSplit[]; readonly file: string };
  readonly pictures: Listed;
  readonly gpu: Gpu;
}

export async function makeReport(
  source: ReportSource,
  job: { readonly signal: AbortSignal; readonly onProgress: (progress: Progress) => void },
): Promise<Answer<"report">> {
  const { network, studied, split, pictures, gpu } = source;
  const found = await verifySplit({ network, bytes: split.written.bytes, pictures, gpu }, job);
  const { manifest } = split.written;
  const data: ReportData = {
    version: 1,
    title: `Channels of ${manifest.layer} in ${network.file}`,
    findings: [],
    command: "made in a browser",
    unbraid: "",
    adapter: gpu.info.description,
    layer: manifest.layer,
    inputs: [
      { what: "model", file: network.file, sha256: network.sha256 },
      { what: "study", file: studied.file, sha256: manifest.study.sha256 },
      { what: "split model", file: split.file, sha256: manifest.model.sha256 },
    ],
    map: [],
    channels: [],
    pictures: [],
    credits: [],
  };
  const sentence = found.holds
    ? `The split network computes the same function: the largest error is ${found.ratio.toPrecision(3)} of the bound that rounding cannot exceed, and ${found.flips} of ${found.images} pictures change their top class.`
    : "The split network does not compute the same function: a difference exceeds what rounding can explain.";
  return { html: reportHtml(data), sentence, holds: found.holds };
}
