/** The figures as tables: for a terminal, and as Markdown for documents. */
import type { Figure } from "../../channels/statistics.ts";
import { showBytes, table } from "../table.ts";
import type { BenchDocument, NetworkResult } from "./document.ts";

type Row = readonly string[];

interface Sheet {
  readonly title: string;
  readonly header: Row;
  readonly rows: readonly Row[];
}

const digits = (x: number): string => (Number.isFinite(x) ? String(Number(x.toPrecision(3))) : "-");
const interval = ({ low, high }: Figure): string => `${digits(low)} to ${digits(high)}`;
const percent = ({ value }: Figure): string => `${digits(100 * value)} %`;

const ENGINE = "_ms_an_image";
const OTHERS: ReadonlySet<string> = new Set([`gpu${ENGINE}`, `gradient${ENGINE}`]);

function engineRows({ network, batch, measures, validated }: NetworkResult): Row[] {
  const engines = Object.keys(measures).filter((key) => key.endsWith(ENGINE) && !OTHERS.has(key));
  return engines.map((key) => {
    const name = key.slice(0, -ENGINE.length);
    const [time, ratio] = [measures[key], measures[`${name}_over_ours`]];
    const by = validated.find((v) => v.peer === name);
    const rest = ratio === undefined ? ["1", ""] : [digits(ratio.value), interval(ratio)];
    const differs = by === undefined ? "" : `${by.difference.toExponential(1)} / ${by.bound.toExponential(1)}`;
    if (time === undefined) return [];
    return [network, String(batch), name, digits(time.value), interval(time), ...rest, String(time.n), differs];
  });
}

const SHOWN: readonly (readonly [string, string, (figure: Figure) => string])[] = [
  ["share_of_ceiling", "of the ceiling", percent],
  ["gpu_ms_an_image", "GPU ms an image", (f) => digits(f.value)],
  ["gradient_with_forward_over_forward", "with gradient over forward", (f) => digits(f.value)],
  ["gpu_peak_bytes", "GPU memory", (f) => showBytes(f.value)],
  ["gpu_peak_over_floor", "over weights and live", (f) => digits(f.value)],
  ["event_loop_share", "event loop", percent],
  ["main_thread_share", "main thread", percent],
  ["cold_start_ms", "cold start ms", (f) => digits(f.value)],
  ["warm_start_ms", "warm start ms", (f) => digits(f.value)],
];

function sheets({ networks }: BenchDocument): Sheet[] {
  const timed = networks.filter((n) => n.validated.length > 0);
  const columns = SHOWN.filter(([key]) => timed.some((n) => n.measures[key] !== undefined));
  return [
    {
      title: "Engines",
      header: [
        ...["network", "batch", "engine", "ms an image", "95 %", "over ours", "95 %", "rounds"],
        "largest difference / bound",
      ],
      rows: timed.flatMap(engineRows),
    },
    {
      title: "Ours",
      header: ["network", "batch", ...columns.map(([, title]) => title)],
      rows: timed.map((n) => [
        n.network,
        String(n.batch),
        ...columns.map(([key, , show]) => (n.measures[key] === undefined ? "-" : show(n.measures[key]))),
      ]),
    },
    ...timed.flatMap(layerSheet),
  ];
}

function layerSheet({ network, batch, layers }: NetworkResult): Sheet[] {
  if (layers === undefined) return [];
  const total = layers.reduce((n, l) => n + l.ms, 0);
  return [
    {
      title: `Layers of ${network}, batch ${batch}`,
      header: ["layer", "what", "GPU ms", "share", "GFLOP", "GFLOP/s", "FLOP a byte", "kernels"],
      rows: layers.map((l) => [
        l.node,
        l.what,
        l.ms.toFixed(3),
        `${((100 * l.ms) / total).toFixed(1)} %`,
        l.operations > 0 ? digits(l.operations / 1e9) : "",
        l.gflops === null ? "" : digits(l.gflops),
        l.operations > 0 ? digits(l.operations / l.bytes) : "",
        [...new Set(l.kernels)].join(" "),
      ]),
    },
  ];
}

/** What is said of the run: where, how busy, against what ceiling, and who is missing. */
function remarks(document: BenchDocument): string[] {
  const { adapter, machine, ceiling, networks, rounds, date, precision } = document;
  const absent = new Map(networks.flatMap((n) => n.absent.map((a) => [a.peer, `${a.peer}: ${a.why}`] as const)));
  const refused = networks.flatMap((n) =>
    n.refused.map(
      (r) =>
        `${r.peer} on ${n.network}, batch ${n.batch}: differs by ${digits(r.difference)}, bound ${digits(r.bound)}`,
    ),
  );
  return [
    `${date}; ${adapter.name}${adapter.software ? " (software)" : ""}; ${machine.processor}, ${machine.cpus} threads, load ${digits(machine.load_before)} before and ${digits(machine.load_after)} after; Node ${machine.node}; medians of ${rounds} alternating rounds.`,
    `The adapter's ceiling by its probes: ${digits(ceiling.gflops.value)} GFLOP/s (multiplications and additions), ${digits(ceiling.gbytes_per_second.value)} GB/s copied; shares are of the direct way's operations.`,
    ...(precision === "f32"
      ? []
      : [
          "Ours stores weights and activations in float16; peers compute in float32, and bytes of layers and rooflines are float32's.",
        ]),
    ...(refused.length === 0 ? [] : [`Not timed, since outputs differ: ${refused.join("; ")}.`]),
    ...(absent.size === 0 ? [] : [`Absent: ${[...absent.values()].join("; ")}.`]),
  ];
}

export function asText(document: BenchDocument): string {
  const parts = sheets(document).filter((s) => s.rows.length > 0);
  return [
    ...parts.map((s) => `${s.title}\n${table(s.header, s.rows)}\n`),
    ...remarks(document).map((r) => `${r}\n`),
  ].join("");
}

const cell = (text: string): string => text.replaceAll("|", "\\|");

export function asMarkdown(document: BenchDocument): string {
  const parts = sheets(document).filter((s) => s.rows.length > 0);
  const lines = (rows: readonly Row[]): string => rows.map((row) => `| ${row.map(cell).join(" | ")} |\n`).join("");
  return [
    ...remarks(document).map((r) => `${r}\n\n`),
    ...parts.map((s) => `### ${s.title}\n\n${lines([s.header, s.header.map(() => "---"), ...s.rows])}\n`),
  ].join("");
}
