// Prints what the client adds to a page: one program with all services, one with posts alone, minified and compressed.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const programs = {
  createPromptmesh: 'import { createPromptmesh } from "./dist/index.js"; createPromptmesh({ baseUrl: "" });',
  "with Session, watches, pages": `import { createPromptmesh, pages, PostState, Session, watchFeed, watchPost } from "./dist/index.js";
    const session = new Session({ baseUrl: "" });
    console.log(createPromptmesh({ baseUrl: "", session }), pages, watchFeed, watchPost, PostState);`,
};
const sizes = {};
for (const [name, contents] of Object.entries(programs)) {
  const built = await build({
    stdin: { contents, resolveDir: root, loader: "js" },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
    metafile: process.argv.includes("--parts"),
  });
  const [file] = built.outputFiles;
  sizes[name] = { bytes: file.contents.length, gzipped_bytes: gzipSync(file.contents, { level: 9 }).length };
  if (built.metafile) {
    const [output] = Object.values(built.metafile.outputs);
    const parts = Object.entries(output.inputs).map(([path, { bytesInOutput }]) => [bytesInOutput, path]);
    console.error(parts.sort((a, b) => b[0] - a[0]).slice(0, 30).map((one) => one.join("\t")).join("\n"));
  }
}
console.log(JSON.stringify(sizes, null, 2));
