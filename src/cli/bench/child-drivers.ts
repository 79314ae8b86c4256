/** Makes a process see one Vulkan driver, that of the adapter that is measured: peers choose theirs themselves. */
import { unpackSwiftShader } from "../../gpu/dawn/swiftshader.ts";
import { ensureRuntimeFolder, ensureVulkanLoader, onlyDriver } from "../../gpu/dawn/vulkan.ts";
import type { Job } from "./child.ts";

export async function onlyAdapter({ provider, adapter }: Pick<Job, "provider" | "adapter">): Promise<void> {
  if (provider === "cpu" || process.platform !== "linux") return;
  ensureRuntimeFolder();
  await ensureVulkanLoader(async () => (await unpackSwiftShader()).loader);
  if (adapter === "swiftshader") {
    for (const [name, value] of Object.entries(onlyDriver((await unpackSwiftShader()).manifest)))
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
  }
  // By the manifest's file name, which is Mesa's. (Vulkan-Loader 1.3.234, LoaderDriverInterface.md)
  if (adapter === "lavapipe") process.env.VK_LOADER_DRIVERS_SELECT = "*lvp*";
}
