// Builds the page and serves it to this computer alone, for development: a page on the web is served by any web server.
// Usage: npm run browser [-- PORT]
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { buildPage } from "./build.mjs";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".map": "application/json; charset=utf-8",
  ".jpg": "image/jpeg",
};

/** @returns the address, and a way to end it */
export async function serve(folder, port = 0) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const path = normalize(
      join(folder, decodeURIComponent(pathname.endsWith("/") ? `${pathname}index.html` : pathname)),
    );
    const answer = (status, body, type) => {
      response.writeHead(status, { "content-type": type, "cache-control": "no-store" });
      response.end(body);
    };
    if (!path.startsWith(folder + sep)) return answer(404, "not found", "text/plain");
    readFile(path).then(
      (body) => answer(200, body, TYPES[extname(path)] ?? "application/octet-stream"),
      () => answer(404, "not found", "text/plain"),
    );
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const url = `http://localhost:${server.address().port}/`;
  const close = () =>
    new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  return { url, close };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await serve(await buildPage(), Number(process.argv[2] ?? 8080));
  console.log(`${url}\nCtrl-C ends it.`);
}
