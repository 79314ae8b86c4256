/** Serves a folder to this computer alone. @param port any free one unless given */
export function serve(
  folder: string,
  port?: number,
): Promise<{ readonly url: string; readonly close: () => Promise<void> }>;
