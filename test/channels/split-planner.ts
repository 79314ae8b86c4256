/** Splits planned on the small network of split-network.ts, on an adapter. */
import { MomentPass } from "../../src/channels/moments-pass.ts";
import { ResponsePass } from "../../src/channels/responses.ts";
import {
  planSplits,
  ROWS_AT_ONCE,
  type PlannedSplit,
  type SplitRule,
  type SplitTarget,
} from "../../src/channels/split-run.ts";
import { Session } from "../../src/engine/session.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { Study } from "../../src/relevance/study.ts";
import { BATCH, geometry, images, network, study } from "./split-network.ts";

/** The passes of a session, and plans of sessions of their own. */
export function planner(gpu: () => Gpu) {
  const open = async (session: Session): Promise<ResponsePass> =>
    ResponsePass.open(session, {
      ...{ layer: network.layer, geometry, input: "x", imageShape: network.imageShape },
      ...{ batch: BATCH, rows: ROWS_AT_ONCE },
    });
  const { layer } = network;
  const momentsOf = (session: Session) => ({
    layer,
    open: (groups: readonly number[]) =>
      MomentPass.open(session, {
        ...{ layer, geometry, input: "x", imageShape: network.imageShape, batch: BATCH, groups },
      }),
  });
  async function plan(
    targets: readonly SplitTarget[],
    o: {
      rule?: SplitRule;
      compat?: boolean;
      study?: Study;
      rho?: number | "chosen";
      scale?: number;
      studyImages?: boolean;
    } = {},
  ): Promise<PlannedSplit[]> {
    using session = new Session(gpu(), network.graph);
    using pass = await open(session);
    const { rule = "symmetric", compat = false, rho, scale, studyImages = false } = o;
    return await planSplits({
      ...{ study: o.study ?? study, targets, rule, compat },
      ...(rho === undefined ? {} : { rho }),
      ...(scale === undefined ? {} : { scale }),
      secondPass: { pass, images, studyImages, moments: momentsOf(session) },
    });
  }
  return { open, momentsOf, plan };
}
