/** What an evaluation of a split says, channel by channel. */
import type { Ablation } from "./ablation.ts";
import type { Density } from "./density.ts";
import type { Fractions } from "./fractions.ts";
import type { Reproducibility } from "./reproducibility.ts";
import type { Contrast } from "./separation.ts";

export interface ConceptFractions extends Fractions {
  readonly concept: string;
  /** Images of the class, and those on which the channel has the share tau of the relevance. */
  readonly images: number;
  readonly counted: number;
}

export interface ConceptDensity extends Density {
  /** Whose images. */
  readonly concept: string;
  /** "original", "part 1", "part 2", ..., "residual". */
  readonly of: string;
}

export interface PartSeparation {
  readonly concept: string;
  /** From the images of the other concepts. */
  readonly from_concepts: Contrast;
  /** From the sample of all classes but the part's own; null without such images. */
  readonly from_all: Contrast | null;
}

export interface ChannelEvaluation {
  readonly channel: number;
  readonly concepts: readonly string[];
  readonly classes: readonly number[];
  readonly rule: string;
  readonly rho: number | null;
  readonly fractions: readonly ConceptFractions[];
  readonly densities: readonly ConceptDensity[];
  readonly separation: readonly PartSeparation[];
  /** What random filters were split by, and whose ARVs. */
  readonly random_filters: { readonly rule: string; readonly rho: number; readonly arvs: "study" | "images" };
  /** null where nothing was ablated. */
  readonly ablation: Ablation | null;
  /** null where the images cannot be halved. */
  readonly reproducibility: Reproducibility | null;
  /** In words: what stands above its null, and what does not. */
  readonly summary: readonly string[];
}

/** The original's table (METHOD.md A9): all pairs' images together. */
export interface PooledFractions extends Fractions {
  /** Which concept's images: 1, 2, ... */
  readonly concept: number;
  readonly counted: number;
}

export interface Evaluation {
  readonly channels: readonly ChannelEvaluation[];
  /** Where all channels have as many concepts; else empty. */
  readonly pooled: readonly PooledFractions[];
}
