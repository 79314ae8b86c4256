/** Builds the page. @returns the folder that holds it */
export function buildPage(folder?: string): Promise<string>;
