/** The worker's GPU device: opened with the first work that needs it, and anew after it was lost. */
import { Gpu, UnbraidError } from "unbraid";

let open: Promise<Gpu> | undefined;

/** @throws UnbraidError WEBGPU_MISSING, DEVICE_REFUSED */
export async function device(): Promise<Gpu> {
  if (open !== undefined) {
    try {
      const gpu = await open;
      gpu.check();
      return gpu;
    } catch {
      // What failed is closed, and the next work begins with a new one.
      void open
        .then((gpu) => {
          gpu[Symbol.dispose]();
        })
        .catch(() => undefined);
    }
  }
  open = openDevice();
  return open;
}

async function openDevice(): Promise<Gpu> {
  // The types say that it is always there.
  const gpu = (navigator as { readonly gpu?: GPU }).gpu;
  const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (adapter !== undefined && adapter !== null) return Gpu.open(adapter);
  throw new UnbraidError(
    "adapter",
    "WEBGPU_MISSING",
    gpu === undefined ? "this browser has no WebGPU" : "this browser has WebGPU, but no graphics adapter for it",
    "Use a current Chrome, Edge, Safari or Firefox with hardware acceleration switched on, over https or on localhost.",
  );
}

export function adapterName({ info }: Gpu): string {
  const name =
    info.description === "" ? [info.vendor, info.architecture].filter((x) => x !== "").join(" ") : info.description;
  return name === "" ? "an adapter without a name" : name;
}
