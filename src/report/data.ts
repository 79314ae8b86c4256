/**
 * What a report holds. It is plain JSON: `reportHtml` puts it into the page as it is, so that whoever has the page has
 * the numbers. Texts are those of strangers (labels, file names, metadata) and are never trusted as markup.
 */

/** A number with its 95 % interval, where there is one, and how many observations it rests on. */
export interface Measure {
  readonly value: number;
  readonly low?: number;
  readonly high?: number;
  readonly n?: number;
}

export type Cell = string | number | Measure;

export interface Table {
  readonly caption: string;
  readonly columns: readonly string[];
  /** The first cell of a row names it. */
  readonly rows: readonly (readonly Cell[])[];
  /** A sentence below the table: what the null is, or what to make of it. */
  readonly note?: string;
}

/** An image that the page shows, once however often it is used. */
export interface Picture {
  readonly name: string;
  readonly class: string;
  /** data: URI of a JPEG, PNG or WebP. */
  readonly src: string;
  /** Pixels of the network's input, which crops are given in. */
  readonly width: number;
  readonly height: number;
}

/** A part of a picture, in pixels of the network's input. */
export interface Crop {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface GalleryItem {
  /** Index into `pictures`. */
  readonly picture: number;
  readonly value: number;
  /** Receptive field of the strongest position; the whole picture without one. */
  readonly crop?: Crop;
  /** data: URI of a PNG laid over the picture: what in it the part answers to. */
  readonly heat?: string;
}

export interface Gallery {
  readonly title: string;
  /** What `value` is. */
  readonly measure: string;
  readonly items: readonly GalleryItem[];
  /** 0 of the channel itself, 1, 2, ... of its parts. */
  readonly part?: number;
}

/** What the page computes with: contributions of each input channel, from which any partition's responses follow. */
export interface Interactive {
  /** [K] names of the concepts. */
  readonly concepts: readonly string[];
  /** "symmetric" or "official" where there is a rho to move. */
  readonly rule: string;
  /** Inputs of the channel: I / groups. */
  readonly inputs: number;
  /** Base64 of little-endian float64 [K, inputs]: the average relevance vectors that the split was made of, to the last bit. */
  readonly arvs: string;
  /** [n] concept (from 0) of each image. */
  readonly concept: readonly number[];
  /** [n] index into `pictures`, or -1 where the image is not shown. */
  readonly picture: readonly number[];
  /**
   * Base64 of little-endian float32 [n, inputs]: sum over positions of what each input channel adds to the channel's
   * output. Their sum over a part's inputs is the part's response, before bias.
   */
  readonly contributions: string;
  /** What the split was made with: the slider begins there. Absent where the rule knows none: then there is no slider. */
  readonly rho?: number;
  /** [inputs] bit masks of the concepts that each input serves in the file. Absent for parts of any weights. */
  readonly sets?: readonly number[];
  /** For those instead [K], each as `contributions`: what the inputs add to each part. */
  readonly parts?: readonly string[];
  /** First input channel of the channel's group: what input 0 is called. */
  readonly firstInput: number;
}

export interface ReportChannel {
  readonly channel: number;
  /** Why it is in the report: "strongest evidence", "chosen at random", ... */
  readonly why: string;
  readonly concepts: readonly string[];
  /** One or two sentences of what was found. */
  readonly summary: string;
  /** What evaluation says in words: what stands above its nulls and what does not. */
  readonly points: readonly string[];
  readonly rule: string;
  readonly interactive?: Interactive;
  readonly tables: readonly Table[];
  readonly galleries: readonly Gallery[];
  readonly visualised?: Visualised;
}

/** What feature visualisation made of a channel. */
export interface Visualised {
  /** The channel, then its parts. */
  readonly rows: readonly {
    /** "the channel", "part 1: panda", ... */
    readonly name: string;
    readonly pictures: readonly {
      /** data: URI. */
      readonly src: string;
      readonly response: number;
    }[];
  }[];
  /** How much each of these pictures excites each part, beside random parts. */
  readonly matrix: Table;
}

export interface LayerMap {
  readonly layer: string;
  readonly channels: number;
  /** Channels that are relevant for a class at all. */
  readonly relevant?: number;
  readonly polysemantic: number;
  readonly pairs?: number;
  /** How many of the pairs are false, at most, in expectation; unknown where a fixed gamma decided. */
  readonly expected?: number;
}

export interface ClassSimilarity {
  /** What similarity is measured by: "WordNet path similarity", a file's name. */
  readonly hierarchy: string;
  /** [cosine of ARVs, similarity of the classes] of every candidate pair. */
  readonly points: readonly (readonly [number, number])[];
  readonly spearman: Measure;
  /** Mantel permutation test: chance of so high a correlation, and the permutations' mean. */
  readonly p: number;
  readonly nullMean?: number;
}

export interface ReportData {
  readonly version: 1;
  readonly title: string;
  /** Five lines or so. */
  readonly findings: readonly string[];
  /** The command that made the report. */
  readonly command: string;
  readonly unbraid: string;
  readonly adapter: string;
  readonly layer: string;
  /** Every file that went in, with its SHA-256. */
  readonly inputs: readonly { readonly what: string; readonly file: string; readonly sha256: string }[];
  readonly proof?: Table;
  readonly proofSentence?: string;
  readonly map: readonly LayerMap[];
  readonly similarity?: ClassSimilarity;
  readonly channels: readonly ReportChannel[];
  readonly pictures: readonly Picture[];
  /** Images that were looked at for the figures and galleries. */
  readonly images?: number;
  /** Pictures and heat maps for which the file had no room. */
  readonly leftOut?: number;
  /** Credits for pictures, a line each. */
  readonly credits: readonly string[];
}
