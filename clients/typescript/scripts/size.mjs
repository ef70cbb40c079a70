// Prints what the client adds to a page: programs of several kinds, minified and compressed. What a program loads only
// when it needs it (`import()`) is a file of its own, and not counted.
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
  "with accounts too": `import { createPromptmesh, pages, PostState, Session, watchFeed, watchPost } from "./dist/index.js";
    import { createAccounts } from "./dist/accounts.js";
    const session = new Session({ baseUrl: "" });
    const options = { baseUrl: "", session };
    console.log(createPromptmesh(options), createAccounts(options), pages, watchFeed, watchPost, PostState);`,
};
const sizes = {};
for (const [name, contents] of Object.entries(programs)) {
  const built = await build({
    stdin: { contents, resolveDir: root, loader: "js", sourcefile: "program.js" },
    bundle: true,
    splitting: true,
    outdir: join(root, "sized"), // nothing is written
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
    metafile: true,
    absWorkingDir: root,
  });
  const { outputs } = built.metafile;
  const entry = Object.keys(outputs).find((path) => outputs[path].entryPoint === "program.js");
  const loaded = new Set();
  const load = (path) => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const { path: other, kind } of outputs[path].imports) if (kind === "import-statement") load(other);
  };
  load(entry);
  const files = built.outputFiles.filter(({ path }) => [...loaded].some((one) => join(root, one) === path));
  const sum = (of) => files.reduce((bytes, file) => bytes + of(file.contents), 0);
  sizes[name] = { bytes: sum((one) => one.length), gzipped_bytes: sum((one) => gzipSync(one, { level: 9 }).length) };
  if (process.argv.includes("--parts")) {
    const parts = [...loaded].flatMap((path) => Object.entries(outputs[path].inputs));
    const rows = parts.map(([path, { bytesInOutput }]) => [bytesInOutput, path]);
    console.error(rows.sort((a, b) => b[0] - a[0]).slice(0, 30).map((one) => one.join("\t")).join("\n"));
  }
}
console.log(JSON.stringify(sizes, null, 2));
