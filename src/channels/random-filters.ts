/**
 * Filters that know nothing of any concept, as a null for what a channel's split shows (METHOD.md B, "Guards"): Gaussian
 * combinations of the filters of the channel's group, each taken at unit norm and less their mean, so that they lie in the
 * filters' span and have their covariance. The same whether or not a BatchNormalization was folded or negated.
 */
import { weightsOf } from "../relevance/arv.ts";
import { tapsOf, type StudyLayer } from "../relevance/study.ts";
import { Random } from "./random.ts";

/** With fewer filters than this their span says nothing: plain Gaussian rows are drawn. */
const LEAST = 8;

/**
 * @param channel whose group's filters they are drawn from
 * @returns [count][I/groups, K] in the layer's orientation, each of norm 1
 */
export function randomFilters(layer: StudyLayer, channel: number, count: number): Float64Array[] {
  const size = (layer.inChannels / layer.groups) * tapsOf(layer);
  const perGroup = layer.outChannels / layer.groups;
  const group = Math.floor(channel / perGroup);
  const random = new Random(0x9e3779b9 + group);
  const filters = centred(
    Array.from({ length: perGroup }, (_, k) => {
      const c = group * perGroup + k;
      const sign = layer.sign[c] ?? 1;
      return unit(Float64Array.from(weightsOf(layer, c), (w) => sign * w));
    }),
    size,
  );
  return Array.from({ length: count }, () => {
    if (filters.length < LEAST) return unit(Float64Array.from({ length: size }, () => random.normal()));
    const row = new Float64Array(size);
    for (const filter of filters) {
      const g = random.normal();
      for (let j = 0; j < size; j++) row[j] = (row[j] ?? 0) + g * (filter[j] ?? 0);
    }
    return unit(row);
  });
}

function unit(row: Float64Array): Float64Array {
  const norm = Math.sqrt(row.reduce((sum, w) => sum + w * w, 0));
  return norm > 0 ? row.map((w) => w / norm) : row;
}

function centred(rows: readonly Float64Array[], size: number): Float64Array[] {
  const mean = new Float64Array(size);
  for (const row of rows) row.forEach((w, j) => (mean[j] = (mean[j] ?? 0) + w / rows.length));
  return rows.map((row) => row.map((w, j) => w - (mean[j] ?? 0)));
}
