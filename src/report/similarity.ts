/** Figure 3 of the paper: similarity of two classes over the cosine of their relevance vectors, every candidate pair. */
import type { ClassSimilarity } from "./data.ts";
import { markup, type Html } from "./escape.ts";
import { showMeasure, showNumber } from "./numbers.ts";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [560, 320, 58, 40, 12, 12];
/** More points than that make the page heavy and the picture no clearer. */
const MAX_POINTS = 4000;

export function similaritySection({ hierarchy, points, spearman, p, nullMean }: ClassSimilarity): Html {
  const cosines = points.map(([c]) => c);
  const similarities = points.map(([, s]) => s);
  const [x0, x1] = range(cosines, 0, 1);
  const [y0, y1] = range(similarities, 0, 1);
  const x = (c: number): string => (LEFT + ((c - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const y = (s: number): string => (HEIGHT - BOTTOM - ((s - y0) / (y1 - y0)) * (HEIGHT - BOTTOM - TOP)).toFixed(1);
  const step = Math.max(1, Math.ceil(points.length / MAX_POINTS));
  const dots = points
    .filter((_, k) => k % step === 0)
    .map(([c, s]) => markup`<circle cx="${x(c)}" cy="${y(s)}" r="2.2" />`);
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const label = `${points.length} pairs of classes; Spearman correlation ${showMeasure(spearman)}, Mantel p ${showNumber(p)}`;
  return markup`<section id="similarity" aria-labelledby="similarity-title">
    <h2 id="similarity-title">Are the concepts of a channel related?</h2>
    <p>
      Each dot is a candidate pair of classes of one channel: how alike the classes are (${hierarchy}) over the cosine
      of their average relevance vectors. Pairs at the left use different inputs. Spearman correlation
      ${showMeasure(spearman)}; permutations of the classes (Mantel's test) give
      ${nullMean === undefined ? "" : `${showNumber(nullMean)} in the mean and `}p = ${showNumber(p)}.${step > 1 ? ` Every ${step}th pair is drawn.` : ""}
    </p>
    <figure>
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${label}" class="chart">
        <g class="axis">
          ${ticks.map((t) => markup`<text x="${x(x0 + t * (x1 - x0))}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${showNumber(x0 + t * (x1 - x0))}</text><text x="${LEFT - 6}" y="${y(y0 + t * (y1 - y0))}" text-anchor="end" dominant-baseline="middle">${showNumber(y0 + t * (y1 - y0))}</text>`)}
          <path d="M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}" />
          <text x="${(LEFT + WIDTH) / 2}" y="${HEIGHT - 4}" text-anchor="middle">cosine of relevance vectors</text>
          <text transform="translate(10 ${(HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">similarity of the classes</text>
        </g>
        <g class="dots">${dots}</g>
      </svg>
    </figure>
  </section>`;
}

function range(values: readonly number[], least: number, most: number): readonly [number, number] {
  const low = values.reduce((a, b) => Math.min(a, b), least);
  return [low, values.reduce((a, b) => Math.max(a, b), most)];
}
