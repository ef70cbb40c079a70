import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

/** src/first.js runs before anything is painted, so it is no module; its name has a hash like those of all parts. */
function firstScript(): Plugin {
  let reference: string;
  return {
    name: "first-script",
    apply: "build",
    buildStart() {
      const source = readFileSync(new URL("./src/first.js", import.meta.url), "utf8");
      reference = this.emitFile({ type: "asset", name: "first.js", source });
    },
    transformIndexHtml: {
      order: "post",
      handler(_html, { bundle }) {
        const names = Object.keys(bundle ?? {});
        const src = names.find((name) => name.startsWith("assets/first-"));
        if (!reference || !src) throw new Error("src/first.js is not among the parts of the app");
        return [{ tag: "script", attrs: { src: `/${src}` }, injectTo: "head-prepend" }];
      },
    },
  };
}

// What `vite build` writes is served by the edge from memory: names carry a hash of the content, and nothing is inline,
// for the policy that the pages are served under forbids it.
export default defineConfig({
  plugins: [firstScript()],
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    sourcemap: false,
  },
});
