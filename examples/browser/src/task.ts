/** One piece of work at a time: a bar with the time that is left, a way to stop, and what went wrong with what to do. */
import { WorkFailed } from "./client.ts";
import { element, showSeconds } from "./dom.ts";
import type { Failure, Progress } from "./protocol.ts";

export interface Job {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}

/** The library's remedies name options of the command line; these are what helps in a page. */
const REMEDIES: Readonly<Partial<Record<string, string>>> = {
  DEVICE_LOST:
    "Try again: a new device is opened. If it happens again, close other pages that use the GPU, or reload this one.",
  DEVICE_REFUSED: "Close other pages that use the GPU, and try again.",
  GPU_MEMORY: "Close other pages that use the GPU, or take smaller pictures.",
  GPU_ERROR: "Try again. If it happens again, please report it with the name of the adapter at the end of this page.",
  GPU_LIMIT: "This network needs a GPU with larger limits.",
  IMAGE_CORRUPT: "Replace or remove the picture, or tick “Go on without pictures that cannot be read”.",
  IMAGE_TOO_LARGE: "Scale the picture down, or tick “Go on without pictures that cannot be read”.",
  SPLIT_NO_SECOND_CONCEPT: "Choose other channels, or other classes of these.",
  RHO_IMAGES: "Study more pictures of each class (six at least), or take a fixed rho.",
  STUDY_FORMAT: "Drop a file that Unbraid wrote.",
};

const failureOf = (error: unknown): Failure => {
  const { code, message, remedy } =
    error instanceof WorkFailed
      ? error.failure
      : { code: "INTERNAL", message: String(error), remedy: "This is a fault of the page: please report it." };
  return { code, message, remedy: REMEDIES[code] ?? remedy };
};

/** Tells that work begins and ends: forms are closed meanwhile. */
export type Busy = (busy: boolean) => void;

export class Tasks {
  readonly #busy: Busy;
  #running: AbortController | undefined;

  constructor(busy: Busy) {
    this.#busy = busy;
  }

  get running(): boolean {
    return this.#running !== undefined;
  }

  /**
   * @param place where progress and errors are shown
   * @param title what is being done, for screen readers too: "Studying"
   */
  async run(place: HTMLElement, title: string, work: (job: Job) => Promise<void>): Promise<void> {
    if (this.#running !== undefined) return;
    const controller = new AbortController();
    this.#running = controller;
    const before = document.activeElement;
    this.#busy(true);
    const view = new ProgressView(place, title, () => {
      controller.abort();
    });
    try {
      await work({
        signal: controller.signal,
        onProgress: (p) => {
          view.update(p);
        },
      });
      view.done();
    } catch (error) {
      view.failed(failureOf(error), () => {
        void this.run(place, title, work);
      });
    } finally {
      this.#running = undefined;
      this.#busy(false);
      // The button that began it was closed meanwhile, and one that is gone may have had the focus.
      const lost = document.activeElement === null || document.activeElement === document.body;
      if (lost && before instanceof HTMLElement && before.isConnected) before.focus();
    }
  }
}

class ProgressView {
  readonly #place: HTMLElement;
  readonly #title: string;
  readonly #bar: HTMLProgressElement;
  readonly #text: HTMLElement;
  readonly #began = performance.now();
  #spoken = 0;

  constructor(place: HTMLElement, title: string, cancel: () => void) {
    this.#place = place;
    this.#title = title;
    this.#bar = element("progress", { "aria-label": title });
    this.#text = element("span", { class: "note" }, `${title}…`);
    const stop = element("button", { type: "button" }, "Cancel");
    stop.addEventListener("click", () => {
      stop.disabled = true;
      stop.textContent = "Stopping…";
      cancel();
    });
    place.replaceChildren(element("div", { class: "running" }, this.#bar, this.#text, stop));
    say(`${title}…`);
    stop.focus({ preventScroll: true });
  }

  update({ done, total, unit }: Progress): void {
    this.#bar.max = Math.max(total, 1);
    this.#bar.value = done;
    const seconds = (performance.now() - this.#began) / 1000;
    const left = done > 0 && done < total ? `, ${showSeconds((seconds / done) * (total - done))} left` : "";
    this.#text.textContent = `${done} of ${total} ${unit}${left}`;
    // Not every step is worth being read out.
    const quarter = Math.floor((4 * done) / Math.max(total, 1));
    if (quarter <= this.#spoken) return;
    this.#spoken = quarter;
    say(`${this.#title}: ${this.#text.textContent}`);
  }

  done(): void {
    this.#place.replaceChildren();
    say(`${this.#title}: done`);
  }

  failed({ code, message, remedy }: Failure, again: () => void): void {
    if (code === "INTERRUPTED") {
      this.#place.replaceChildren(element("p", { class: "note" }, "Stopped."));
      say("Stopped.");
      return;
    }
    this.#place.replaceChildren(errorBox({ code, message, remedy }, again));
  }
}

export function errorBox({ code, message, remedy }: Failure, again?: () => void): HTMLElement {
  const box = element(
    "div",
    { class: "error", role: "alert" },
    element("p", {}, element("strong", {}, code), " ", element("span", {}, message)),
    element("p", {}, remedy),
  );
  if (again !== undefined) {
    const button = element("button", { type: "button" }, "Try again");
    button.addEventListener("click", again);
    box.append(button);
  }
  return box;
}

/** For screen readers. */
function say(text: string): void {
  const live = document.getElementById("live");
  if (live !== null) live.textContent = text;
}
