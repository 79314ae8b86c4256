/** The page: what is open, and the six steps. The work is done by the worker. */
import { PRESETS, type PreprocessOptions } from "unbraid";
import { Client } from "./client.ts";
import { openDemo } from "./demo.ts";
import { byId, control, count, element, facts, numberIn, showBytes } from "./dom.ts";
import { chosen, dropped, type Given } from "./files.ts";
import type { NetworkInfo, Picture, StudySummary } from "./protocol.ts";
import { FindStep, ReportStep, showClassified, showStudy, SplitStep } from "./steps.ts";
import { errorBox, Tasks, type Job } from "./task.ts";

const client = new Client(new Worker(new URL("worker.js", import.meta.url), { type: "module" }));
const form = (id: string): HTMLFormElement => byId(`${id}-form`, HTMLFormElement);
const place = (id: string): HTMLElement => byId(id, HTMLElement);

interface State {
  model?: File;
  beside: readonly File[];
  pictures: readonly Picture[];
  unreadable: number;
  network?: NetworkInfo;
  study?: StudySummary;
}
const state: State = { beside: [], pictures: [], unreadable: 0 };

const forms = ["preprocess", "classify", "study", "find", "split", "report"].map(form);
const tasks = new Tasks(update);
const findStep = new FindStep(place("find-result"), update);
const splitStep = new SplitStep(client, place("split-result"));
const reportStep = new ReportStep(place("report-result"));

/** Opens what can be used now, and closes the rest. */
function update(): void {
  const { network, study } = state;
  const pictures = state.pictures.length > 0;
  const ready: Readonly<Record<string, boolean>> = {
    "preprocess-form": network !== undefined,
    "classify-form": network !== undefined && pictures,
    "study-form": network !== undefined && pictures,
    "find-form": study !== undefined,
    "split-form": findStep.targets.length > 0,
    "report-form": splitStep.done && pictures,
  };
  for (const one of forms) {
    const open = ready[one.id] === true && !tasks.running;
    for (const item of one.elements) if ("disabled" in item) item.disabled = !open;
    one.classList.toggle("closed", ready[one.id] !== true);
  }
  for (const id of ["demo", "files", "folder"]) {
    const item = byId(id, HTMLElement);
    if ("disabled" in item) item.disabled = tasks.running;
  }
}

function onSubmit(id: string, title: string, work: (of: HTMLFormElement, job: Job) => Promise<void>): void {
  const of = form(id);
  of.addEventListener("submit", (event) => {
    event.preventDefault();
    void tasks.run(place(`${id}-progress`), title, (job) => work(of, job));
  });
}

// Opening: files in any order, the network as soon as it is there.

async function take(given: Given, job: Job): Promise<void> {
  const [model] = given.models;
  const isNew = model !== undefined;
  if (isNew) {
    state.model = model;
    // What belonged to the network before would be wrong for this one.
    state.beside = given.beside;
  } else state.beside = [...given.beside, ...state.beside];
  if (given.pictures.length > 0) {
    state.pictures = given.pictures;
    state.unreadable = given.unreadable;
    showPictures();
  }
  if (state.model !== undefined && (isNew || given.beside.length > 0)) await openNetwork(state.model, isNew, job);
  const [study] = given.studies;
  if (study !== undefined) setStudy(await client.call("loadStudy", { file: study }, job));
}

async function openNetwork(model: File, isNew: boolean, job: Job): Promise<void> {
  const preprocess = isNew ? {} : preprocessOptions();
  delete state.network;
  const network = await client.call("open", { model, beside: state.beside, preprocess }, job);
  state.network = network;
  place("classify-result").replaceChildren();
  clearStudy();
  showNetwork(network);
}

function clearStudy(): void {
  delete state.study;
  place("study-result").replaceChildren();
  findStep.clear();
  splitStep.clear();
  reportStep.clear();
}

function setStudy(study: StudySummary): void {
  clearStudy();
  state.study = study;
  showStudy(client, place("study-result"), study);
}

const opening = (title: string, work: (job: Job) => Promise<Given>): void => {
  void tasks.run(place("open-progress"), title, async (job) => {
    await take(await work(job), job);
  });
};

byId("demo", HTMLButtonElement).addEventListener("click", () => {
  opening("Opening the demo", openDemo);
});
for (const id of ["files", "folder"]) {
  const input = byId(id, HTMLInputElement);
  input.addEventListener("change", () => {
    const files = Array.from(input.files ?? []);
    // So that the same choice is a change again.
    input.value = "";
    opening("Opening", () => Promise.resolve(chosen(files)));
  });
}
const drop = place("drop");
for (const kind of ["dragenter", "dragover"])
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const { dataTransfer } = event;
  if (dataTransfer === null) return;
  const given = dropped(dataTransfer);
  opening("Opening", () => given);
});

function showNetwork(n: NetworkInfo): void {
  const splittable = n.layers.filter((l) => l.splittable).length;
  const shape = n.imageShape.map((d) => d ?? "any").join(" x ");
  facts(byId("network-facts", HTMLDListElement), [
    ["Network", `${n.file}, ${showBytes(n.bytes)}, opset ${n.opset}`],
    [
      "Layers",
      `${count(n.nodes, "node")}, ${count(n.layers.length, "convolution")} of which ${splittable === n.layers.length ? "all" : splittable} can be split`,
    ],
    ["Pictures it takes", shape],
    ["Classes", `${n.classes}${n.labels === null ? ", without names" : ""}`],
    ["Preprocessing", n.specGiven ? describeSpec(n.spec) : `${describeSpec(n.spec)}. Nobody has said so: look below.`],
  ]);
  byId("preprocess", HTMLDetailsElement).open = !n.specGiven;
  fillPreprocess(n);
  const layers = control(form("study"), "layer", HTMLSelectElement);
  const options = n.layers.map((l) => {
    const text = `${l.name} (${l.kernel}, ${l.inputs} to ${l.outputs})${l.splittable ? "" : `: ${l.why}`}`;
    return element("option", { value: l.name, disabled: !l.splittable }, text);
  });
  layers.replaceChildren(...options);
  const last = n.layers.filter((l) => l.splittable).at(-1);
  if (last !== undefined) layers.value = last.name;
}

function showPictures(): void {
  const { pictures, unreadable } = state;
  const classes = new Set(
    pictures.flatMap(({ path }) => (path.includes("/") ? [path.slice(0, path.indexOf("/"))] : [])),
  );
  facts(byId("picture-facts", HTMLDListElement), [
    ["Pictures", count(pictures.length, "picture")],
    [
      "In folders",
      classes.size === 0 ? "none: they can be classified, not studied" : count(classes.size, "class", "classes"),
    ],
    ...(unreadable === 0
      ? []
      : [["Left out", `${count(unreadable, "picture")} of kinds that browsers do not read (TIFF, PNM)`] as const]),
  ]);
}

// Preprocessing

const presets = control(form("preprocess"), "preset", HTMLSelectElement);
presets.append(
  element("option", { value: "" }, "as below"),
  ...Object.keys(PRESETS).map((name) => element("option", { value: name }, name)),
);

const describeSpec = ({ resize, crop, mean, std, channels }: NetworkInfo["spec"]): string =>
  [
    resize === undefined ? "no resize" : `resize ${resize}`,
    crop === undefined ? "no crop" : `crop ${crop}`,
    `mean ${mean.join(", ")}`,
    `deviation ${std.join(", ")}`,
    ...(channels === "bgr" ? ["BGR"] : []),
  ].join("; ");

function fillPreprocess({ spec }: NetworkInfo): void {
  const set = (name: string, value: string): void => {
    const item = control(form("preprocess"), name, HTMLElement);
    if (item instanceof HTMLInputElement || item instanceof HTMLSelectElement) item.value = value;
  };
  set("preset", "");
  set("resize", spec.resize === undefined ? "" : String(spec.resize));
  set("crop", spec.crop === undefined ? "" : String(spec.crop));
  set("mean", spec.mean.join(", "));
  set("std", spec.std.join(", "));
  set("channels", spec.channels ?? "rgb");
}

function preprocessOptions(): PreprocessOptions {
  const of = form("preprocess");
  if (presets.value !== "") return { preset: presets.value };
  const triple = (name: string): number[] => control(of, name, HTMLInputElement).value.split(",").map(Number);
  const [resize, crop] = [numberIn(of, "resize"), numberIn(of, "crop")];
  return {
    preset: "none",
    ...(resize === null ? {} : { resize }),
    ...(crop === null ? {} : { crop }),
    ...{ mean: triple("mean"), std: triple("std"), channels: control(of, "channels", HTMLSelectElement).value },
  };
}

form("preprocess").addEventListener("submit", (event) => {
  event.preventDefault();
  const { model } = state;
  if (model === undefined) return;
  void tasks.run(place("open-progress"), "Opening", (job) => openNetwork(model, false, job));
});

// The other steps

/** A field that means something for one choice only. */
function shownFor(id: string, choice: string, value: string, field: string): void {
  const select = control(form(id), choice, HTMLSelectElement);
  const label = control(form(id), field, HTMLInputElement).closest("label");
  const show = (): void => {
    label?.toggleAttribute("hidden", select.value !== value);
  };
  select.addEventListener("change", show);
  show();
}
shownFor("find", "rule", "gamma", "gamma");
shownFor("split", "how", "fixed", "rho");

onSubmit("classify", "Classifying", async (of, job) => {
  const most = numberIn(of, "count") ?? 8;
  const pictures = spread(state.pictures, most);
  const rows = await client.call("classify", { pictures }, job);
  showClassified(place("classify-result"), pictures, rows);
});

/** So many of the list, from all over it. */
function spread<T>(list: readonly T[], most: number): T[] {
  const n = Math.min(most, list.length);
  return Array.from({ length: n }, (_, k) => list[Math.floor((k * list.length) / n)]).filter((x) => x !== undefined);
}

onSubmit("study", "Studying", async (of, job) => {
  const request = {
    pictures: state.pictures,
    layer: control(of, "layer", HTMLSelectElement).value,
    limit: numberIn(of, "limit"),
    skip: control(of, "skip", HTMLInputElement).checked,
  };
  setStudy(await client.call("study", request, job));
});

onSubmit("find", "Finding", async (of, job) => {
  const gamma = control(of, "rule", HTMLSelectElement).value === "gamma" ? numberIn(of, "gamma") : null;
  splitStep.clear();
  reportStep.clear();
  findStep.show(await client.call("find", { gamma }, job));
});

onSubmit("split", "Splitting", async (of, job) => {
  const fixed = control(of, "how", HTMLSelectElement).value === "fixed";
  const request = {
    targets: findStep.targets,
    rho: fixed ? (numberIn(of, "rho") ?? 0.5) : null,
    pictures: fixed ? [] : state.pictures,
  };
  splitStep.clear();
  reportStep.clear();
  splitStep.show(await client.call("split", request, job));
});

onSubmit("report", "Verifying and reporting", async (_, job) => {
  reportStep.show(await client.call("report", { pictures: state.pictures }, job));
});

// The adapter, or what to do without one.

update();
client.call("adapter", undefined).then(
  (name) => {
    byId("adapter", HTMLElement).textContent = `Runs on ${name}.`;
  },
  (error: unknown) => {
    const failure =
      error instanceof Error && "failure" in error ? (error.failure as Parameters<typeof errorBox>[0]) : undefined;
    place("banner").replaceChildren(
      errorBox(failure ?? { code: "INTERNAL", message: String(error), remedy: "Reload the page." }),
    );
  },
);
