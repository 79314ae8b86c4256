/** The network and the pictures that ship with the package: build.mjs copies them beside the page. */
import { WorkFailed } from "./client.ts";
import type { Given } from "./files.ts";
import type { Job } from "./task.ts";

interface Index {
  readonly files: readonly string[];
  /** Path and bytes of each picture. */
  readonly pictures: readonly (readonly [string, number])[];
}

export async function openDemo({ signal }: Job): Promise<Given> {
  const get = async (path: string): Promise<Response> => {
    const response = await fetch(`demo/${path}`, { signal });
    if (response.ok) return response;
    const message = `demo/${path} cannot be fetched: the server says ${response.status}`;
    throw new WorkFailed({ code: "DEMO_MISSING", message, remedy: "Build the page again: npm run browser." });
  };
  const index = (await (await get("index.json")).json()) as Index;
  const files = await Promise.all(index.files.map(async (name) => new File([await (await get(name)).blob()], name)));
  const pictures = index.pictures.map(([path, bytes]) => ({
    ...{ path, bytes },
    source: new URL(`demo/images/${path.split("/").map(encodeURIComponent).join("/")}`, location.href).href,
  }));
  const isModel = ({ name }: File): boolean => name.endsWith(".onnx");
  return {
    models: files.filter(isModel),
    beside: files.filter((file) => !isModel(file)),
    ...{ pictures, studies: [], unreadable: 0 },
  };
}
