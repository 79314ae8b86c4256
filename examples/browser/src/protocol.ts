/** What the page asks of the worker, which has the GPU: plain messages, one answer each, progress in between. */
import type { PreprocessOptions, PreprocessSpec } from "unbraid";

/** A picture that is read when it is needed: a file, or an address of the server that the page came from. */
export interface Picture {
  /** Below the folder that was given, with forward slashes; its first part is the class, where there is one. */
  readonly path: string;
  readonly bytes: number;
  readonly source: File | string;
}

export interface OpenRequest {
  readonly model: File;
  /** Everything else that was given: data files of the model, labels, preprocessing. */
  readonly beside: readonly File[];
  /** What the page's form says, over the file beside the model. */
  readonly preprocess: PreprocessOptions;
}

export interface LayerInfo {
  readonly name: string;
  readonly kernel: string;
  readonly inputs: number;
  readonly outputs: number;
  readonly splittable: boolean;
  readonly why: string;
}

export interface NetworkInfo {
  readonly file: string;
  readonly bytes: number;
  readonly opset: number;
  readonly nodes: number;
  readonly classes: number;
  readonly labels: readonly string[] | null;
  readonly imageShape: readonly (number | null)[];
  readonly spec: PreprocessSpec;
  /** Whether a file or the form said how pictures are prepared. */
  readonly specGiven: boolean;
  readonly layers: readonly LayerInfo[];
}

export interface Classified {
  readonly path: string;
  readonly top: readonly { readonly label: string; readonly probability: number }[];
}

export interface StudySummary {
  readonly file: string;
  readonly layer: string;
  readonly images: number;
  readonly listed: number;
  readonly classes: number;
  readonly skipped: number;
  readonly seconds: number;
  readonly accumulatorBytes: number;
}

export interface FoundPair {
  readonly channel: number;
  readonly class1: number;
  readonly class2: number;
  readonly name1: string;
  readonly name2: string;
  readonly cosine: number;
  readonly q: number | null;
}

export interface FindSummary {
  readonly pairs: readonly FoundPair[];
  readonly candidates: number;
  readonly channels: number;
  readonly decision: string;
}

export interface SplitRow {
  readonly channel: number;
  readonly concepts: readonly string[];
  readonly rho: number | null;
  readonly inputs: readonly number[];
  readonly shared: number;
  readonly score: number | null;
}

export interface SplitSummary {
  readonly layer: string;
  readonly file: string;
  readonly rows: readonly SplitRow[];
  readonly refused: readonly { readonly channel: number; readonly concepts: readonly string[]; readonly why: string }[];
}

export interface ReportSummary {
  readonly html: string;
  readonly sentence: string;
  readonly holds: boolean;
}

export interface Methods {
  /** The adapter's name. */
  adapter(): string;
  open(request: OpenRequest): NetworkInfo;
  classify(request: { readonly pictures: readonly Picture[] }): Classified[];
  study(request: {
    readonly pictures: readonly Picture[];
    readonly layer: string;
    readonly limit: number | null;
    readonly skip: boolean;
  }): StudySummary;
  loadStudy(request: { readonly file: File }): StudySummary;
  find(request: { readonly gamma: number | null }): FindSummary;
  split(request: {
    readonly targets: readonly { readonly channel: number; readonly classes: readonly number[] }[];
    /** null: chosen on the pictures. */
    readonly rho: number | null;
    readonly pictures: readonly Picture[];
  }): SplitSummary;
  report(request: { readonly pictures: readonly Picture[] }): ReportSummary;
  download(what: Download): { readonly name: string; readonly bytes: Uint8Array<ArrayBuffer> };
}

export type Download = "study" | "model" | "manifest";
export type Method = keyof Methods;
export type Request<M extends Method> = Parameters<Methods[M]>[0];
export type Answer<M extends Method> = ReturnType<Methods[M]>;

export interface Progress {
  readonly done: number;
  readonly total: number;
  /** In the plural: "pictures". */
  readonly unit: string;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

export type ToWorker =
  { readonly id: number; readonly method: Method; readonly request: unknown } | { readonly cancel: number };

export type FromWorker =
  | { readonly id: number; readonly progress: Progress }
  | { readonly id: number; readonly answer: unknown }
  | { readonly id: number; readonly failure: Failure };
