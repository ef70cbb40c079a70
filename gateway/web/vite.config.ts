import { defineConfig } from "vite";

// What `vite build` writes is served by the edge from memory: names carry a hash of the content, and nothing is inline,
// for the policy that the pages are served under forbids it.
export default defineConfig({
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
