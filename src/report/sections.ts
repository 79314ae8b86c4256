/** The parts of the report that need no script: tables, galleries, the map of layers, the proof, the inputs. */
import type {
  Crop,
  Gallery,
  GalleryItem,
  LayerMap,
  Picture,
  ReportChannel,
  ReportData,
  Table,
  Visualised,
} from "./data.ts";
import { markup, imageUri, type Html } from "./escape.ts";
import { showCell, showNumber } from "./numbers.ts";

/** @param where tells regions of one caption apart, for those who jump from region to region */
export function tableSection({ caption, columns, rows, note }: Table, where = ""): Html {
  const label = where === "" ? caption : `${caption} (${where})`;
  return markup`<div class="scroll" role="region" tabindex="0" aria-label="${label}">
      <table>
        <caption>
          ${caption}
        </caption>
        <thead>
          <tr>
            ${columns.map((c) => markup`<th scope="col">${c}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            ([first = "", ...rest]) =>
              markup`<tr>
                <th scope="row">${showCell(first)}</th>
                ${rest.map((cell) => markup`<td${typeof cell === "string" ? undefined : markup` class="${typeof cell === "number" ? "number" : "measure"}"`}>${showCell(cell)}</td>`)}
              </tr> `,
          )}
        </tbody>
      </table>
    </div>
    ${note === undefined ? undefined : markup`<p class="note">${note}</p>`}`;
}

/** A window onto the crop of a picture: the picture is placed behind it by percentages, so any size of page will do. */
function window(picture: Picture, crop: Crop | undefined, src: string, alt: string): Html {
  const { x, y, width, height } = crop ?? { x: 0, y: 0, width: picture.width, height: picture.height };
  const style = `width:${percent(picture.width / width)};height:${percent(picture.height / height)};left:${percent(-x / width)};top:${percent(-y / height)}`;
  return markup`<img src="${src}" alt="${alt}" style="${style}" />`;
}

const percent = (share: number): string => `${(100 * share).toFixed(2)}%`;

function galleryItem(data: ReportData, item: GalleryItem, measure: string): Html | undefined {
  const picture = data.pictures[item.picture];
  const src = picture && imageUri(picture.src);
  if (picture === undefined || src === undefined) return undefined;
  const heat = item.heat === undefined ? undefined : imageUri(item.heat);
  const label = `${picture.class}, ${picture.name}; ${measure} ${showNumber(item.value)}`;
  const heatLabel =
    heat === undefined ? undefined : markup`<span class="heat">${window(picture, item.crop, heat, "")}</span>`;
  return markup`<li>
    <span class="window">${window(picture, item.crop, src, label)}${heatLabel}</span
    ><span class="under"><b>${picture.class}</b> ${showNumber(item.value)}</span>
  </li> `;
}

function gallerySection(data: ReportData, { title, measure, items }: Gallery): Html {
  return markup`<figure class="gallery">
    <figcaption>${title} <span class="muted">(${measure})</span></figcaption>
    <ul>
      ${items.map((item) => galleryItem(data, item, measure))}
    </ul>
  </figure> `;
}

export function galleriesSection(data: ReportData, { galleries, concepts }: ReportChannel): Html | undefined {
  if (galleries.length === 0) return undefined;
  const cropped = galleries.some(({ items }) => items.some(({ crop }) => crop !== undefined));
  const heat = galleries.some(({ items }) => items.some((item) => item.heat !== undefined));
  const looked = data.images === undefined ? "" : `Out of ${data.images} images. `;
  const crops = cropped
    ? "Cropped to what the strongest position of the channel can see. "
    : "Every position of this layer can see the whole image, so none is cropped. ";
  return markup`<h3>Images</h3>
    <p class="note">
      ${looked}${crops}${heat ? "Colour shows what in the image raises each part (gradient times input, smoothed): " : ""}
      ${
        heat
          ? concepts.map(
              (name, k) =>
                markup`<span class="entry"><span class="key concept-${k}"></span>part ${k + 1}: ${name}</span> `,
            )
          : undefined
      }
    </p>
    ${heat ? markup`<div class="heat-switch"></div>` : undefined}
    <div class="galleries">${galleries.map((g) => gallerySection(data, g))}</div>`;
}

export const visualisedSection = ({ rows, matrix }: Visualised, where: string): Html =>
  markup`<h3>Pictures that excite the channel and its parts most</h3>
    <p class="note">
      Made by gradient ascent from noise, each from another beginning; the numbers are mean responses over positions.
    </p>
    <div class="small">
      ${rows.map(
        ({ name, pictures }) =>
          markup`<figure class="gallery">
            <figcaption>${name}</figcaption>
            <ul>
              ${pictures.map(({ src, response }, k) => {
                const uri = imageUri(src);
                return uri === undefined
                  ? undefined
                  : markup`<li>
                      <span class="window"><img class="whole" src="${uri}" alt="picture ${k + 1} made for ${name}, response ${showNumber(response)}" /></span
                      ><span class="under">${showNumber(response)}</span>
                    </li> `;
              })}
            </ul>
          </figure> `,
      )}
    </div>
    ${matrix.rows.length > 0 && matrix.columns.length > 1 ? tableSection(matrix, where) : undefined}`;

/** Zeros included: a layer without polysemantic channels is a finding too. */
export function mapSection(map: readonly LayerMap[]): Html | undefined {
  if (map.length === 0) return undefined;
  const share = (count: number, { channels }: LayerMap): number => count / Math.max(1, channels);
  // Each false pair at most makes one channel more.
  const falsely = (l: LayerMap): number => Math.min(l.polysemantic, l.expected ?? 0);
  const most = Math.max(1e-9, ...map.map((l) => share(l.polysemantic, l)));
  const bar = (count: number, l: LayerMap, kind: string): Html =>
    markup`<span class="bar ${kind}" style="width:${percent(share(count, l) / most)}"></span>`;
  const number = (n: number | undefined): string => (n === undefined ? "not known" : showNumber(n));
  return markup`<section id="layers" aria-labelledby="layers-title">
    <h2 id="layers-title">Polysemanticity by layer</h2>
    <p>
      Channels that are relevant for two classes through significantly unlike inputs, of all channels of the layer.
      Beside them, in grey, how many the null would list by itself at most.
    </p>
    <div class="scroll" role="region" tabindex="0" aria-label="Table of layers">
      <table class="map">
        <caption>
          Layers from the input to the output
        </caption>
        <thead>
          <tr>
            <th scope="col">layer</th>
            <th scope="col">channels</th>
            <th scope="col">relevant for a class</th>
            <th scope="col">polysemantic</th>
            <th scope="col">pairs of classes</th>
            <th scope="col">of them false, at most</th>
            <th scope="col">share of channels</th>
          </tr>
        </thead>
        <tbody>
          ${map.map(
            (l) =>
              markup`<tr>
                <th scope="row">${l.layer}</th>
                <td class="number">${l.channels}</td>
                <td class="number">${number(l.relevant)}</td>
                <td class="number">${l.polysemantic}</td>
                <td class="number">${number(l.pairs)}</td>
                <td class="number">${number(l.expected)}</td>
                <td class="bars">
                  <span class="number">${showNumber(100 * share(l.polysemantic, l))} %</span>${bar(l.polysemantic, l, "found")}${l.expected === undefined ? undefined : bar(falsely(l), l, "null")}
                </td>
              </tr> `,
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}

export function proofSection(data: ReportData): Html | undefined {
  if (data.proof === undefined) return undefined;
  return markup`<section id="proof" aria-labelledby="proof-title">
    <h2 id="proof-title">The network still computes the same function</h2>
    <p>${data.proofSentence}</p>
    ${tableSection(data.proof)}
    <p class="note">
      This says nothing about whether the parts mean something: any division of the weights passes. The evidence of each
      channel above, beside its null, is what speaks for or against that.
    </p>
  </section>`;
}

export function inputsSection({ inputs, command, unbraid, adapter, credits }: ReportData): Html {
  const rows = inputs.map(({ what, file, sha256 }) => [what, file, sha256]);
  return markup`<section id="inputs" aria-labelledby="inputs-title">
    <h2 id="inputs-title">How this was made</h2>
    <p>Unbraid ${unbraid} on ${adapter}:</p>
    <pre>${command}</pre>
    ${tableSection({ caption: "Everything that went in", columns: ["what", "file", "SHA-256"], rows })}
    ${
      credits.length === 0
        ? undefined
        : markup`<h3>Credits</h3>
            <ul>
              ${credits.map((line) => markup`<li>${line}</li>`)}
            </ul>`
    }
  </section>`;
}
