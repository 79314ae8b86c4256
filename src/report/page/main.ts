/** Begins the live figures of every channel, from the numbers that the file carries. */
import type { Interactive, Picture } from "../data.ts";
import { channelView } from "./channel.ts";

interface Embedded {
  readonly channels: readonly { readonly channel: number; readonly interactive?: Interactive }[];
  readonly pictures: readonly Picture[];
}

const text = document.getElementById("data")?.textContent ?? "";
const { channels, pictures } = JSON.parse(text) as Embedded;
for (const place of document.querySelectorAll<HTMLElement>(".live")) {
  const found = channels[Number(place.dataset.channel)];
  if (found?.interactive !== undefined) place.replaceChildren(channelView(found.channel, found.interactive, pictures));
}
