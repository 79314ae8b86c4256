/** Begins the live figures of every channel, from the numbers that the file carries. */
import type { Interactive, Picture } from "../data.ts";
import { channelView } from "./channel.ts";
import { el } from "./svg.ts";

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

const switches: HTMLInputElement[] = [];
for (const place of document.querySelectorAll<HTMLElement>(".heat-switch")) {
  const box = el("input", { type: "checkbox", checked: "" });
  switches.push(box);
  box.addEventListener("change", () => {
    document.body.classList.toggle("plain", !box.checked);
    for (const other of switches) other.checked = box.checked;
  });
  place.append(el("label", {}, box, "heat over the images"));
}
